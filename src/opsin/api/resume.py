"""`opsin train --resume RUN`: go on from the last whole epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opsin.api.run_result import RunResult
from opsin.core.config import TrainConfig, learning_settings, make_config, read_config
from opsin.core.errors import ModelRefused, WrongUsage
from opsin.core.extras import require
from opsin.core.files import sha256_file
from opsin.core.progress import Progress, choose_progress
from opsin.core.run_dir import RunDir, open_run, point_latest, read_record


def resume(run: str | Path, *, progress: Progress | None = None) -> RunResult:
    """Go on with an interrupted run; one that is trained gets what it still lacks.

    The weights at the end are those of the uninterrupted run. Raises `WrongUsage` when the data
    changed (each difference is named), `Locked` while the run is in use, `ModelRefused` when no
    checkpoint is whole.
    """
    require("torch", purpose="opsin train --resume")
    folder = open_run(Path(run))
    progress = progress or choose_progress()
    try:
        with folder.locked():
            return _resumed(folder.path, progress)
    finally:
        progress.close()


def _resumed(path: Path, progress: Progress) -> RunResult:
    from opsin.api.job import Job
    from opsin.api.preparation import prepare
    from opsin.api.training import run_training
    from opsin.data.intake import draw_split
    from opsin.data.manifest import contents
    from opsin.data.splits import Split
    from opsin.tasks.classification import Classification
    from opsin.training.checkpoint import CheckpointStore

    run = RunDir(path)
    config = make_config(read_config(run.config))
    store_of_checkpoints = CheckpointStore(run.checkpoints)
    saved, notes = store_of_checkpoints.newest()
    for note in notes:
        progress.line(note)
    if saved is None and notes:
        raise ModelRefused(
            "no checkpoint of this run is whole",
            code="no_checkpoint",
            where=str(run.checkpoints),
            fix=f"begin again: opsin train --config {run.config}",
        )
    if saved is not None:
        _refuse_other_settings(run, saved.state.get("settings", {}), learning_settings(config))
    plan = prepare(config)
    intake, store = plan.take_in(progress)
    _refuse_changes(run, config, contents(intake.index, intake.records))
    begun = run.split.exists()
    split = Split.from_dict(read_record(run.split)) if begun else draw_split(intake, config)
    task = Classification(split.classes)
    model = plan.model(task.num_outputs)
    job = Job(run, config, plan, intake, store, split, task, model, progress)
    if not begun:
        job.write_data_records()
        point_latest(run.path)
    if saved is None:
        progress.line("no epoch was finished; beginning at the first")
    else:
        progress.line(
            f"run {path.name}: going on after epoch {saved.state['epoch']} (checkpoint checked)"
        )
    return run_training(job, resume_from=saved)


def _refuse_other_settings(
    run: RunDir, before: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
    """Refuse to go on with other settings, or with a split that is not the one trained on."""
    split = sha256_file(run.split) if run.split.exists() else "missing"
    now = {**config, "split": split}
    found = [
        f"{name} was {before.get(name, 'absent')}, is {now.get(name, 'absent')}"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]
    if found:
        raise WrongUsage(
            f"the run was trained with other settings: {'; '.join(found)}",
            code="settings_changed",
            where=str(run.path),
            fix=f"put them back, or begin a new run: opsin train --config {run.config}",
        )


def _refuse_changes(run: RunDir, config: TrainConfig, now: Mapping[str, tuple[str, str]]) -> None:
    from opsin.data.manifest import differences, read_contents

    if not run.manifest.exists():
        return
    changed = differences(read_contents(run.manifest), now)
    if changed:
        raise WrongUsage(
            f"the data changed since this run began: {'; '.join(changed)}",
            code="data_changed",
            where=str(config.data),
            fix=f"restore the files, or begin a new run: opsin train --config {run.config}",
        )
