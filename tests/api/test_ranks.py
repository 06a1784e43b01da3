"""`--processes` from one command: no end of any process leaves another behind, or unexplained."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.api.ranks_targets import learn

from opsin.core.errors import DataRefused, OpsinError
from opsin.training.distributed import ProcessLost

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(sys.platform == "win32", reason="signals"),
]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other processes find the tests, and no settings of this one."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OPSIN_EPOCHS", "no number")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


def gone(folder: Path, rank: int) -> bool:
    """Whether the process of `rank` has ended."""
    try:
        os.kill(int((folder / f"{rank}.pid").read_text()), 0)
    except ProcessLookupError:
        return True
    return False


def test_three_processes_learn_what_one_learns(tmp_path: Path) -> None:
    together = learn(str(tmp_path), processes=3)
    assert not {"RANK", "WORLD_SIZE", "MASTER_PORT", "GLOO_SOCKET_IFNAME"} & set(os.environ)
    assert not torch.distributed.is_initialized()
    assert gone(tmp_path, 1)
    assert gone(tmp_path, 2)
    (tmp_path / "b").mkdir()
    alone = learn(str(tmp_path / "b"), processes=1)
    assert max(float(each.detach().abs().max()) for each in alone.parameters()) > 0.1
    for ours, theirs in zip(together.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("how", "kind", "says", "exit_code"),
    [
        ("refused", DataRefused, "a picture is gone (in process 1 of 2)", 3),
        ("killed", ProcessLost, "process 1 of 2 ended (signal 9)", 70),
        ("crash", ProcessLost, "process 1 of 2 ended (status 1): numbers ran out", 70),
        ("late", ProcessLost, "process 1 of 2 ended (status 1): ValueError: cannot start", 70),
    ],
)
def test_a_process_that_fails_ends_all_and_is_named(
    tmp_path: Path, how: str, kind: type[OpsinError], says: str, exit_code: int
) -> None:
    with pytest.raises(kind) as caught:
        learn(str(tmp_path), how)
    assert caught.value.message == says
    assert caught.value.exit_code == exit_code
    if how == "refused":
        assert (caught.value.where, caught.value.fix) == ("a.jpg", "look")
    if how != "late":
        assert gone(tmp_path, 1)
        assert list((tmp_path / "checkpoints").glob("step-*"))
    assert not torch.distributed.is_initialized()


def test_the_others_end_when_the_first_is_killed(tmp_path: Path) -> None:
    with (tmp_path / "words").open("wb") as words:
        first = subprocess.Popen(
            [sys.executable, "-m", "tests.api.ranks_targets", str(tmp_path), "slow"],
            cwd=ROOT,
            stderr=words,
        )
        checkpoints = tmp_path / "checkpoints"
        while not list(checkpoints.glob("step-00000008.*")):
            assert first.poll() is None, (tmp_path / "words").read_text()
            time.sleep(0.05)
        assert not gone(tmp_path, 1)
        first.kill()
        first.wait()
    while not gone(tmp_path, 1):  # the test's own time limit is the end of this
        time.sleep(0.05)
