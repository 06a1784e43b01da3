"""The script for a card runs without one, in little; its fractions are what the formula says."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from on_accelerator import OURS, SIDES, THEIRS, fraction, measure


def test_sides_are_measured_in_turn_and_a_broken_one_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = {
        "opsin, synthetic": (OURS, "synthetic"),
        "torchvision, stored": (THEIRS, "torchvision"),
        "opsin, stored and flipped": (OURS, "flipped"),
    }
    assert some.items() <= SIDES.items()
    broken = {"nobody, synthetic": (tmp_path / "nobody.py", "")}
    monkeypatch.setattr("on_accelerator.SIDES", some | broken)
    found = measure(tmp_path, device="cpu", quick=True)
    assert found["card"]["flop_s"] > 1e8
    assert set(found["images_s"]) == set(some)
    assert min(found["images_s"].values()) > 0
    assert found["failed"]["nobody, synthetic"].startswith("exit 2: ")
    assert fraction(found, "opsin, synthetic") is None, "of ResNet-50 alone"
    assert str(tmp_path) not in json.dumps(found["job"]), "no place of this machine"


def test_the_fraction_of_the_matrix_rate() -> None:
    """2,000 pictures a second are 49 TFLOP/s: 6.2 % of 790."""
    found = {
        "job": {"network": "resnet50"},
        "card": {"flop_s": 790e12},
        "images_s": {"opsin, synthetic": 2000.0},
    }
    share = fraction(found, "opsin, synthetic")
    assert share == pytest.approx(2000 * 6 * 4.09e9 / 790e12)
    assert share == pytest.approx(0.0621, abs=1e-4)
    assert fraction(found | {"card": {}}, "opsin, synthetic") is None


def test_the_row_sets_each_of_ours_beside_each_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from processes import Ran
    from rows import accelerator
    from table import Row

    def peer(environment: str, script: str) -> list[str]:
        return ["python", script]

    bench = SimpleNamespace(work=tmp_path, quick=False, rounds=2, peer=peer)
    found = {
        "job": {"network": "resnet50", "matrix": 8192},
        "card": {"name": "a card", "flop_s": 790e12, "torch": "2"},
        "images_s": {
            "opsin, synthetic": 3000.0,
            "opsin, stored": 2800.0,
            "torchvision, synthetic": 2500.0,
            "torchvision, stored": 1400.0,
            "timm, synthetic": 2400.0,
        },
        "failed": {"timm, stored": "exit 1", "opsin, stored and flipped": "exit 2"}
        | {"opsin with CUDA graphs, synthetic": "exit 3"},
    }
    monkeypatch.setattr(accelerator, "run", lambda command: Ran(1.0, 1.0, "True\n"))
    monkeypatch.setattr(accelerator, "measure_sides", lambda folder, **more: found)
    row = Row("accelerator", "A card")
    accelerator.measure(bench, row)  # type: ignore[arg-type]
    ratios = {(line.figure, line.beside): line.ratio for line in row.lines if not line.failed}
    assert ratios == {
        ("pictures a second, synthetic", "torchvision"): 1.2,
        ("pictures a second, synthetic", "timm"): 1.25,
        ("pictures a second, stored", "torchvision"): 2.0,
    }
    assert [line.failed for line in row.lines if line.failed].count("exit 1") == 1
    assert len(row.lines) == 8
    assert row.notes[0] == "opsin, synthetic: 9.3% of the card's matrix rate."
