"""Many keyed draws at once: uniform, independent, and of each sample alone."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from scipy import stats

from opsin.core.seeding import uniforms

IDS = [f"class {number % 7}/{number}.jpg" for number in range(20_000)]


def test_a_row_is_a_function_of_its_own_key() -> None:
    together = uniforms(3, "rotate", [1, 2, 2], ["a", "b", "\udcff.png"], 4)
    assert together.dtype == np.float64
    assert together.shape == (3, 4)
    assert (uniforms(3, "rotate", [2], ["b"], 4)[0] == together[1]).all()
    backwards = uniforms(3, "rotate", [2, 2, 1], ["\udcff.png", "b", "a"], 4)
    assert (backwards[::-1] == together).all()
    assert (uniforms(3, "rotate", [1], ["a"], 2)[0] == together[0, :2]).all()


def test_each_part_of_the_key_counts() -> None:
    first = uniforms(0, "rotate", [1], ["a"], 3)
    for other in (
        uniforms(1, "rotate", [1], ["a"], 3),
        uniforms(0, "shear", [1], ["a"], 3),
        uniforms(0, "rotate", [2], ["a"], 3),
        uniforms(0, "rotate", [1 + (1 << 32)], ["a"], 3),
        uniforms(0, "rotate", [-1], ["a"], 3),
        uniforms(0, "rotate", [1], ["b"], 3),
    ):
        assert not (other == first).any()


def test_another_process_draws_the_same() -> None:
    code = (
        "from opsin.core.seeding import uniforms;print(uniforms(5, 'x', [7], ['ä/b.png'], 2)[0, 1])"
    )
    environment = {"PYTHONHASHSEED": "12345", "PATH": "/usr/bin"}
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert float(other.stdout) == uniforms(5, "x", [7], ["ä/b.png"], 2)[0, 1]


def test_uniform() -> None:
    """Kolmogorov-Smirnov, and chi-square of the first and the last bits that are used."""
    for draws in (
        uniforms(0, "x", [1] * len(IDS), IDS, 3),
        uniforms(0, "x", list(range(len(IDS))), ["one"] * len(IDS), 3),
        uniforms(1, "x", [1] * 4, IDS[:4], 5000).T,
    ):
        assert draws.min() >= 0
        assert draws.max() < 1
        for column in draws.T:
            assert stats.kstest(column, "uniform").pvalue > 1e-4
            for scale in (1, 2**20, 2**45):
                cells = np.bincount((column * scale % 1 * 64).astype(int), minlength=64)
                assert stats.chisquare(cells).pvalue > 1e-4


def test_independent() -> None:
    """Between columns, epochs, seeds, purposes and neighbours: no correlation, and pairs fill the
    square evenly.
    """
    count = len(IDS)
    first = uniforms(0, "x", [1] * count, IDS, 2)
    others = [
        first[:, 1],
        np.roll(first[:, 0], 1),
        uniforms(0, "x", [2] * count, IDS, 1)[:, 0],
        uniforms(1, "x", [1] * count, IDS, 1)[:, 0],
        uniforms(0, "y", [1] * count, IDS, 1)[:, 0],
    ]
    for other in others:
        assert abs(np.corrcoef(first[:, 0], other)[0, 1]) < 0.03
        pairs, _, _ = np.histogram2d(first[:, 0], other, bins=16, range=[[0, 1], [0, 1]])
        assert stats.chisquare(pairs.ravel()).pvalue > 1e-4


def test_no_two_of_many_are_the_same() -> None:
    draws = np.concatenate(
        [uniforms(0, "x", [epoch] * len(IDS), IDS, 2).ravel() for epoch in range(5)]
    )
    assert len(np.unique(draws)) == len(draws)
