"""Two processes over loopback: the numbers of one process with the same global batch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training.points import StopAt
from tests.training.ranks_script import KINDS, Uneven, trainer

from opsin.core.errors import Interrupted
from opsin.training.checkpoint import CheckpointStore
from opsin.training.distributed import Ranks
from opsin.training.interrupt import StopRequest
from opsin.training.snapshot import under

pytestmark = pytest.mark.timeout(120)

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("ranks_script.py")
CLOSE = 2e-6
"""Float32 added in another order, through some steps. Measured: 3e-7 at most."""


@dataclass
class Two:
    """What both ranks found, and their weights."""

    folder: Path
    found: list[dict[str, Any]]

    def weights(self, name: str, rank: int) -> dict[str, torch.Tensor]:
        return load_file(self.folder / f"{name}.{rank}.safetensors")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    """Both processes run everything once."""
    folder = tmp_path_factory.mktemp("two")
    stop = StopRequest()
    cut = trainer("sgd", folder / "one", stop=stop, callbacks=(StopAt(stop, 2, 3),))
    with pytest.raises(Interrupted):
        cut.fit()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder)],
            env=os.environ | shared | {"RANK": str(rank)},
            stderr=subprocess.PIPE,
        )
        for rank in (0, 1)
    ]
    words = [each.communicate(timeout=100)[1].decode() for each in running]
    assert [each.returncode for each in running] == [0, 0], words
    return Two(folder, [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)])


def farthest(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert set(a) == set(b)
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def test_questions_are_answered_alike_by_all(two: Two) -> None:
    for found in two.found:
        assert found["any"] == [True, False, True]
        assert found["sum"] == {"a": 0.2 + 0.1, "b": 1 / 3}
        assert found["gather"] == [[0], [1], [2]]
        assert found["gather bool"] == [True, False]
        assert found["gather none"] == [0, 3]
        assert found["text"] == "rän 1"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "norms"])
def test_the_numbers_of_one_process(two: Two, tmp_path: Path, kind: str) -> None:
    alone = trainer(kind, tmp_path / kind)
    history = alone.fit()
    start = trainer(kind, tmp_path / "start").model.state_dict()
    assert farthest(start, alone.model.state_dict()) > 0.05
    for rank, found in enumerate(two.found):
        assert farthest(two.weights(kind, rank), alone.model.state_dict()) < CLOSE
        for ours, (epoch, stage, values) in zip(history.records, found[kind], strict=True):
            assert (ours.epoch, ours.stage) == (epoch, stage)
            assert values == pytest.approx(ours.values, rel=1e-5)
            for exact in ("train_accuracy", "val_accuracy", "val_macro_f1"):  # counts, not floats
                assert values[exact] == ours.values[exact]


@pytest.mark.parametrize("kind", KINDS)
def test_all_ranks_end_with_the_same_bits(two: Two, kind: str) -> None:
    """Batch-norm too: its statistics are those of rank 0."""
    assert farthest(two.weights(kind, 0), two.weights(kind, 1)) == 0
    assert two.found[0][kind] == two.found[1][kind]


def test_a_rank_without_rows_takes_part() -> None:
    sizes = [len(batch) for batch in Uneven(90, 1, shuffle=True).plan(1)]
    assert sizes == [16, 16, 16, 16, 16, 9, 1]
    points = Uneven(90, 1, shuffle=True)
    points.share = (1, 2)
    assert [batch.filler for batch in points.epoch(1)] == [False] * 6 + [True]


def test_only_rank_0_writes_and_what_it_writes_is_the_whole(two: Two, tmp_path: Path) -> None:
    """The sums in the checkpoint, in the middle of an epoch, count all samples."""
    alone = trainer("sgd", tmp_path / "a", stop=(stop := StopRequest()))
    alone.hooks.callbacks.append(StopAt(stop, 2, 3))
    with pytest.raises(Interrupted):
        alone.fit()
    ours, _ = CheckpointStore(tmp_path / "a").newest()
    theirs, _ = CheckpointStore(two.folder / "two").newest()
    assert ours
    assert theirs
    assert theirs.state["sums"]["count"] == ours.state["sums"]["count"] == 48
    assert theirs.state["sums"]["accuracy"] == ours.state["sums"]["accuracy"]
    assert theirs.state["position"]["step"] == 3
    for found in two.found:
        assert "in epoch 2, after step 3 of 7" in found["stopped"]
    assert len(list((two.folder / "two").glob("step-*"))) == 2


def test_one_process_then_two(two: Two, tmp_path: Path) -> None:
    whole = trainer("sgd", tmp_path / "a")
    whole.fit()
    for rank in (0, 1):
        assert farthest(two.weights("one", rank), whole.model.state_dict()) < CLOSE


def test_two_processes_then_one(two: Two, tmp_path: Path) -> None:
    whole = trainer("sgd", tmp_path / "a")
    history = whole.fit()
    saved, notes = CheckpointStore(two.folder / "two").newest(set_aside=False)
    assert notes == []
    assert saved
    assert under("model.", saved.tensors)
    again = trainer("sgd", tmp_path / "b")
    records = again.fit(saved).records
    assert farthest(again.model.state_dict(), whole.model.state_dict()) < CLOSE
    assert [r.values["train_accuracy"] for r in records] == [
        r.values["train_accuracy"] for r in history.records
    ]


def test_only_the_end_of_another_process_is_taken_for_it() -> None:
    ranks = Ranks(0, 2)
    gone = RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]")
    fault = ranks.fault(gone)
    assert fault
    assert fault.code == "process_lost"
    assert "one of the 2 processes ended" in fault.message
    assert ranks.fault(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert ranks.fault(ValueError("Connection closed by peer")) is None
