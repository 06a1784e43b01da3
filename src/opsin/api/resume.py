"""`opsin train --resume RUN`: go on where the run stopped."""

from __future__ import annotations

from pathlib import Path

from opsin.api.run_result import RunResult
from opsin.core.config import TrainConfig, learning_settings, make_config, read_config
from opsin.core.errors import ModelRefused, WrongUsage
from opsin.core.extras import require
from opsin.core.files import sha256_file
from opsin.core.progress import Progress, choose_progress
from opsin.core.run_dir import RunDir, open_run, point_latest, read_record


def resume(
    run: str | Path,
    *,
    epochs: int | None = None,
    accept_changes: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """Go on with an interrupted run; one that is trained gets what it still lacks.

    The weights at the end are those of the uninterrupted run. `epochs`: train up to this many,
    also when the run had ended. `accept_changes`: where data or settings are not what they were,
    begin a new run that points to this one.

    Raises `WrongUsage` when data or settings changed (each difference is named), `Locked` while the
    run is in use, `ModelRefused` when no checkpoint is whole.
    """
    require("torch", purpose="opsin train --resume")
    folder = open_run(Path(run))
    progress = progress or choose_progress()
    try:
        with folder.locked():
            try:
                return _resumed(RunDir(folder.path), epochs, progress)
            except WrongUsage as error:
                if not accept_changes or error.code not in ("settings_changed", "data_changed"):
                    raise
                progress.line(f"accepted: {error.message}")
        return _begun_again(RunDir(folder.path), progress)
    finally:
        progress.close()


def _resumed(run: RunDir, epochs: int | None, progress: Progress) -> RunResult:
    from opsin.api.continuation import longer, where_it_was
    from opsin.api.job import Job, make_task
    from opsin.api.preparation import prepare
    from opsin.api.training import run_training
    from opsin.data.intake import draw_split
    from opsin.data.manifest import contents
    from opsin.data.splits import Split
    from opsin.training.checkpoint import CheckpointStore

    config = make_config(read_config(run.config))
    saved, notes = CheckpointStore(run.checkpoints).newest()
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
        refuse_other_settings(run, saved.state["settings"], config)
    plan = prepare(config)
    intake, store = plan.take_in(progress)
    _refuse_changes(run, config, contents(intake.index, intake.records))
    config, saved = longer(run, config, saved, epochs, progress.line)
    begun = run.split.exists()
    split = Split.from_dict(read_record(run.split)) if begun else draw_split(intake, config)
    task, balance = make_task(config, intake, split)
    model = plan.model(task.num_outputs)
    job = Job(run, config, plan, intake, store, split, task, balance, model, progress)
    if not begun:
        job.write_data_records()
        point_latest(run.path)
    progress.line(where_it_was(run, saved))
    return run_training(job, resume_from=saved)


def _begun_again(old: RunDir, progress: Progress) -> RunResult:
    from opsin.api.train import new_run

    config = make_config(read_config(old.config))
    return new_run(config, progress, follows=old.path)


def refuse_other_settings(run: RunDir, before: dict[str, object], config: TrainConfig) -> None:
    """Refuse to go on with other settings, or with a split that is not the one trained on."""
    split = sha256_file(run.split) if run.split.exists() else "missing"
    # More epochs are another question, see `continuation.longer`.
    now = {**learning_settings(config), "split": split, "epochs": before.get("epochs")}
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
            fix="put them back, or begin a new run: "
            f"opsin train --resume {run.path} --accept-changes",
        )


def _refuse_changes(run: RunDir, config: TrainConfig, now: dict[str, tuple[str, str]]) -> None:
    from opsin.data.manifest import differences, read_contents

    if not run.manifest.exists():
        return
    changed = differences(read_contents(run.manifest), now)
    if changed:
        raise WrongUsage(
            f"the data changed since this run began: {'; '.join(changed)}",
            code="data_changed",
            where=str(config.data),
            fix="restore the files, or begin a new run: "
            f"opsin train --resume {run.path} --accept-changes",
        )
