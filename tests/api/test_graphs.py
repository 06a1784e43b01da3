"""Whole runs that may use CUDA graphs: tried, recorded, pinned. A recorder of the tests stands for
the card's.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.training.recorder import Recorder
from tests.training.runs import Lines

from opsin.api.resume import resume
from opsin.api.running import graphs_choice, preparation, tuning
from opsin.api.train import train
from opsin.core.errors import Interrupted, WrongUsage
from opsin.testing.digits import write_digits
from opsin.training import graphs

SMALL: dict[str, Any] = {
    "image_size": 16,
    "epochs": 2,
    "threads": 1,
    "layout": "contiguous",
    "bundle": False,
    "report": False,
    "batch_size": 16,
}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("few") / "digits", per_class=8)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """A machine that records, and on which graphs are always fast enough."""
    made = Recorder()
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", made)
    for module in (graphs, graphs_choice, tuning, preparation):
        monkeypatch.setattr(module, "can_record", lambda device: True)
    monkeypatch.setattr(graphs, "GAIN", 1e9)
    return made


def trained(data: Path, folder: Path, **more: Any) -> tuple[Path, dict[str, Any], list[str]]:
    """The run, what `env.json` says of its graphs, and the line of the plan."""
    said = Lines()
    path = train(data, project=folder, progress=said, **(SMALL | more)).path
    record = json.loads((path / "env.json").read_text())["cpu"].get("graphs", {})
    return path, record, [line for line in said.said if line.startswith("tuned")]


def graphs_of(run: Path) -> Any:
    return yaml.safe_load((run / "config.yaml").read_text())["graphs"]


def losses(run: Path) -> list[str]:
    return [line.rpartition(",")[0] for line in (run / "history.csv").read_text().splitlines()]


def test_tried_recorded_and_the_bits_stay(few: Path, tmp_path: Path, recorder: Recorder) -> None:
    over, record, (line,) = trained(few, tmp_path)
    assert (record["used"], record["loss_gap"], record["gradient_gap"]) == (True, 0, 0)
    assert line.endswith("; CUDA graphs on: faster in a trial")
    assert graphs_of(over) == "on"
    tried, calls = 1 + graphs.TIMES, recorder.calls
    steps = len(range(0, 56, 16))  # of 80 pictures 56 are for training, the last batch is of 8
    assert calls == tried + 2 * (steps - 1)
    plain, record, (line,) = trained(few, tmp_path, graphs="off")
    assert (recorder.calls, record) == (calls, {"used": False, "why": "as asked"})
    assert graphs_of(plain) == "off"
    assert losses(plain) == losses(over)


def test_a_resumed_run_has_what_it_was_begun_with(
    few: Path, tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(text: str) -> None:
        if text.startswith("epoch 1/"):
            os.kill(os.getpid(), signal.SIGINT)

    whole = trained(few, tmp_path)[0]
    with pytest.raises(Interrupted):
        train(few, project=tmp_path, progress=Lines(break_off), name="broken", **SMALL)

    def refuse(*arguments: Any, **named: Any) -> None:
        raise AssertionError("tried in a resumed run")

    monkeypatch.setattr(graphs_choice, "compare", refuse)
    before, said = recorder.calls, Lines()
    again = resume(tmp_path / "broken", progress=said).path
    assert recorder.calls > before
    assert any("CUDA graphs: as the run was begun" in line for line in said.said)
    assert losses(again) == losses(whole)


def test_a_run_goes_on_where_there_are_no_graphs(few: Path, tmp_path: Path) -> None:
    """What was chosen on a card is no wish of the person on the next machine."""
    run = trained(few, tmp_path)[0]
    settings = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(settings | {"graphs": "on"}))
    said = Lines()
    assert len(losses(resume(run, epochs=3, progress=said).path)) == 1 + 3
    assert "this device has no CUDA graphs: the run goes on without" in said.said


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"accumulate": 2}, "a batch goes through in parts"),
        ({"freeze": True}, "a part of the model is frozen"),
        ({"batch_size": 64}, "no batch is full"),
        ({"tune": False}, "nothing is tried (--no-tune)"),
    ],
)
def test_where_there_are_none(
    few: Path, tmp_path: Path, recorder: Recorder, settings: dict[str, Any], why: str
) -> None:
    run, record, (line,) = trained(few, tmp_path, **settings)
    assert record == {"used": False, "why": why}
    assert line.endswith(f"; CUDA graphs off: {why}")
    assert (graphs_of(run), recorder.calls) == ("off", 0)


def test_a_trial_that_fails_is_no_error(few: Path, tmp_path: Path, recorder: Recorder) -> None:
    recorder.fails = "operation not permitted when stream is capturing"
    run, record, _ = trained(few, tmp_path)
    assert record["why"] == f"CUDA graphs are not used: {recorder.fails}"
    assert graphs_of(run) == "off"
    asked = Lines()
    train(few, project=tmp_path, progress=asked, **SMALL, graphs="on")
    assert f"CUDA graphs are not used: {recorder.fails}" in asked.said
    recorder.fails, recorder.off = "", 1.0
    run, record, _ = trained(few, tmp_path)
    assert record["why"].startswith("gradients differ by")


def test_without_cuda_nothing_is_said_and_on_is_refused(few: Path, tmp_path: Path) -> None:
    run, record, (line,) = trained(few, tmp_path)
    assert (record, graphs_of(run)) == ({}, "auto")
    assert "graphs" not in line
    with pytest.raises(WrongUsage, match="the device is cpu") as caught:
        trained(few, tmp_path, graphs="on")
    assert caught.value.where == "graphs"
