"""Machine settings of real runs: chosen, recorded, remembered, obeyed, pinned."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.training.runs import Lines

from opsin.api.resume import resume
from opsin.api.run_result import RunResult
from opsin.api.running import timings
from opsin.api.train import train
from opsin.core.allocator import ENVIRONMENT
from opsin.core.cache_dir import VARIABLE
from opsin.core.errors import Interrupted
from opsin.core.progress import Progress, Silent
from opsin.testing.digits import write_digits
from opsin.training.checkpoint import CheckpointStore

SMALL: dict[str, Any] = {
    "image_size": 16,
    "epochs": 2,
    "lr": 3e-3,
    "bundle": False,
    "report": False,
    "batch_size": 16,
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("few") / "digits", per_class=8)


def begin(data: Path, folder: Path, progress: Progress | None = None, **more: Any) -> RunResult:
    return train(data, project=folder, progress=progress or Silent(), **(SMALL | more))


def config_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text())
    return found


def cpu_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "env.json").read_text())["cpu"]
    return found


def history(run: Path) -> list[str]:
    """Without the seconds."""
    return [line.rpartition(",")[0] for line in (run / "history.csv").read_text().splitlines()]


def test_chosen_recorded_and_remembered(
    few: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timings, "LIMIT_FRAC", 100.0)  # so short a run leaves no time for a second
    said, before = Lines(), torch.get_num_threads()
    first = begin(few, tmp_path, said).path
    assert torch.get_num_threads() == before
    config, cpu = config_of(first), cpu_of(first)
    assert config["layout"] == cpu["memory_format"] in ("contiguous", "channels_last")
    assert config["threads"] == cpu["threads"]
    assert cpu["chosen_by"] == "a probe"
    assert cpu["probe"][0]["step_s"] > 0
    assert [line[:7] for line in said.said if line.startswith("tuned")] == ["tuned  "]
    assert any(line.startswith("time   about") for line in said.said)
    assert list(cache.glob("machine/settings-*.json"))

    def refuse(*arguments: Any, **named: Any) -> None:
        raise AssertionError("timed again")

    monkeypatch.setattr(timings, "probe", refuse)
    second = begin(few, tmp_path).path
    assert cpu_of(second) == cpu | {"chosen_by": "an earlier run here"}
    again = train(config=first / "config.yaml", name="again", progress=Silent()).path
    for other in (second, again):
        assert history(other) == history(first)
        assert config_of(other)["layout"] == config["layout"]


def test_what_is_asked_for_is_obeyed(few: Path, tmp_path: Path) -> None:
    for layout in ("contiguous", "channels_last"):
        run = begin(few, tmp_path, threads=1, layout=layout).path
        assert (config_of(run)["layout"], config_of(run)["threads"]) == (layout, 1)
        saved = CheckpointStore(run / "checkpoints").newest()[0]
        assert saved is not None
        assert bool(saved.state["channels_last"]) == (layout == "channels_last")
        assert len(cpu_of(run)["probe"]) == 1


def test_nothing_is_timed_nor_held_with_tune_off(few: Path, tmp_path: Path) -> None:
    run = begin(few, tmp_path, tune=False).path
    cpu = cpu_of(run)
    assert (cpu["probe"], cpu["memory"], cpu["chosen_by"]) == ([], "memory as usual", "the default")
    assert config_of(run)["layout"] == "contiguous"


def test_a_probe_leaves_no_trace(few: Path, tmp_path: Path) -> None:
    """The run that was probed has the bits of one that was told the same settings."""
    probed = begin(few, tmp_path, schedule="cosine").path
    config = config_of(probed)
    told = begin(
        few,
        tmp_path,
        schedule="cosine",
        tune=False,
        threads=config["threads"],
        layout=config["layout"],
    ).path
    assert history(probed) == history(told)


def test_a_resumed_run_has_the_settings_of_its_checkpoint(
    few: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Break(Lines):
        def line(self, text: str) -> None:
            super().line(text)
            if text.startswith("epoch 1/"):
                os.kill(os.getpid(), signal.SIGINT)

    whole = begin(few, tmp_path, layout="channels_last", threads=1).path
    with pytest.raises(Interrupted):
        begin(few, tmp_path, Break(), layout="channels_last", threads=1, name="broken")

    def refuse(*arguments: Any, **named: Any) -> None:
        raise AssertionError("timed in a resumed run")

    monkeypatch.setattr(timings, "probe", refuse)
    said = Lines()
    again = resume(tmp_path / "broken", progress=said).path
    assert "tuned  1 thread, channels_last, memory held: as the run was begun" in said.said
    assert history(again) == history(whole)


@pytest.mark.parametrize("settings", [{"freeze": True}, {"fine_tune": True}])
def test_a_frozen_backbone_is_asked_and_not_stepped(
    few: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    said = Lines()
    run = begin(few, tmp_path, said, **settings).path
    line = next(line for line in said.said if line.startswith("tuned"))
    assert ("a batch of features" in line) == ("freeze" in settings)
    assert cpu_of(run)["probe"]


def test_a_cache_folder_that_cannot_be_written(few: Path, tmp_path: Path, cache: Path) -> None:
    cache.write_text("")
    run = begin(few, tmp_path).path
    assert cpu_of(run)["chosen_by"] == "the default", "so short a run tries nothing else"
    assert len(cpu_of(run)["probe"]) == 1


def test_precision_auto_is_settled(few: Path, tmp_path: Path) -> None:
    run = begin(few, tmp_path, precision="auto").path
    assert config_of(run)["precision"] in ("float32", "bfloat16")


ONE_CORE = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from opsin.api.train import train
from opsin.core.progress import Silent
train(sys.argv[1], project=sys.argv[2], image_size=16, epochs=1, bundle=False, report=False,
      progress=Silent(), name="one")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs sched_setaffinity")
def test_one_core_is_one_thread_and_no_second_is_tried(few: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", ONE_CORE, str(few), str(tmp_path)], check=True)
    cpu = cpu_of(tmp_path / "one")
    assert {each["threads"] for each in cpu["probe"]} == {1}
    assert cpu["threads"] == 1


def test_a_time_limit_is_kept_by_a_real_run(few: Path, tmp_path: Path) -> None:
    """It ends inside its time, with fewer epochs and a rate that came down to its end."""
    limit = 1.5
    run = begin(few, tmp_path, epochs=4000, max_time=limit, schedule="polynomial").path
    rows = [line.split(",") for line in (run / "history.csv").read_text().splitlines()]
    head, last = rows[0], rows[-1]
    assert 1 < len(rows) - 1 < 4000
    assert sum(float(row[head.index("seconds")]) for row in rows[1:]) < limit * 1.05
    assert float(last[head.index("lr")]) < 3e-3 / 2


@pytest.mark.parametrize("junk", ["[", "7", '{"epoch_s": "x", "step_s": null, "train": []}'])
def test_what_makes_no_sense_in_the_cache_is_measured_again(
    few: Path, tmp_path: Path, cache: Path, junk: str
) -> None:
    begin(few, tmp_path, epochs=2)
    for path in (cache / "machine").glob("*.json"):
        if junk.startswith("{"):
            kept = json.loads(path.read_text())
            kept["value"] = {name: json.loads(junk) for name in kept["value"]} | json.loads(junk)
            path.write_text(json.dumps(kept))
        else:
            path.write_text(junk)
    assert (begin(few, tmp_path, epochs=2).path / "metrics.json").exists()


@pytest.mark.parametrize("tune", [True, False])
def test_what_torch_reads_as_it_is_loaded(few: Path, tmp_path: Path, tune: bool) -> None:
    """Settled by the settings, from wherever they come, and recorded."""
    (tmp_path / "settings.yaml").write_text(f"tune: {str(tune).lower()}\nepochs: 1\n")
    free = {k: v for k, v in os.environ.items() if k not in (*ENVIRONMENT, "OMP_WAIT_POLICY")}
    words = ["train", few, "--config", tmp_path / "settings.yaml", "--image-size", 16]
    words += ["--no-report", "--no-bundle", "--project", tmp_path, "--name", "run"]
    command = [sys.executable, "-m", "opsin", *map(str, words)]
    subprocess.run(command, env=free, check=True, capture_output=True)
    assert cpu_of(tmp_path / "run")["environment"] == (ENVIRONMENT if tune else {})
