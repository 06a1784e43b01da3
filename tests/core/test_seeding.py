"""Keyed randomness."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from opsin.core.seeding import generator, key_of, torch_seed


def test_another_process_draws_the_same() -> None:
    code = "from opsin.core.seeding import generator; print(generator(3, 7, 'ä/b.png').random())"
    environment = {"PYTHONHASHSEED": "12345", "PATH": "/usr/bin"}
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert float(other.stdout) == generator(3, 7, "ä/b.png").random()


def test_parts_do_not_run_into_each_other() -> None:
    assert len({key_of("ab", "c"), key_of("a", "bc"), key_of(1, "c"), key_of("1", "c")}) == 4
    assert 0 <= torch_seed(1, 2) < 2**63


def test_neighbouring_keys_are_independent() -> None:
    draws = np.array([generator(0, epoch, "x.png").random() for epoch in range(4000)])
    assert abs(draws.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.05


def test_file_names_that_are_not_utf8_have_a_key() -> None:
    assert key_of("\udcff.png") != key_of("\udcfe.png")
