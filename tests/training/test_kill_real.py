"""A small share of `make soak`: real SIGKILLs at write calls and at random, bits turned over."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTHING = ["--kills", "0", "--command", "0", "--flips", "0", "--large", "0"]
NOTHING += ["--points", "0", "--train-points", "0"]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="forks a process that has loaded torch"
)


def soak(folder: Path, *options: str) -> tuple[int, dict[str, int], list[str]]:
    """Exit status, counts and failures; in a process of one thread, which alone may fork."""
    command = [sys.executable, "-m", "tests.soak", *NOTHING, *options]
    done = subprocess.run(
        [*command, "--json", "--folder", str(folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found["counts"], found["failures"]


def test_a_share_of_the_soak(tmp_path: Path) -> None:
    """The draws are other ones each time; a failure names its seed."""
    status, counts, failures = soak(
        tmp_path,
        *("--rows", "plain,everything", "--kills", "6", "--flips", "200"),
        *("--points", "0.1", "--train-points", "0.01"),
    )
    assert failures == []
    assert status == 0
    assert counts["kills"] >= 6
    assert counts["flips"] == 200
    assert counts["points of the loop"] >= 20
    assert counts["points of opsin.train"] >= 3


def test_a_save_that_is_not_atomic_is_noticed(tmp_path: Path) -> None:
    """The soak itself can fail: here a checkpoint is written in its place."""
    status, counts, failures = soak(tmp_path, "--broken", "--points", "0.1", "--seed", "1")
    assert status == 1
    assert counts["points of the loop"] > 10
    assert {failure.partition(":")[0] for failure in failures} <= {"unreadable", "refused"}
    assert any("half" in failure for failure in failures)
