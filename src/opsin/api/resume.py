"""`opsin train --resume RUN`: go on where the run stopped."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsin.api.own.parts import Own, take_own
from opsin.api.own.record import refuse_other_names, refuse_other_parts
from opsin.api.run_result import RunResult
from opsin.api.running.ranks import rank_here, started_ranks
from opsin.core.allocator import prepare_environment
from opsin.core.config import TrainConfig, differing, learning_settings
from opsin.core.config_file import read_config
from opsin.core.errors import ModelRefused, WrongUsage
from opsin.core.extras import expect
from opsin.core.files import sha256_file
from opsin.core.progress import Progress, Silent, choose_progress
from opsin.core.run_dir import RunDir, open_run, point_latest, read_record

if TYPE_CHECKING:
    from opsin.data.manifest import Contents
    from opsin.training.checkpoint import CheckpointStore, Saved
    from opsin.training.processes import Processes


def resume(
    run: str | Path,
    *,
    epochs: int | None = None,
    processes: int | None = None,
    accept_changes: bool = False,
    progress: Progress | None = None,
    data: Any = None,
    model: Any = None,
    loss: Any = None,
    metrics: Any = (),
    callbacks: Any = (),
    **settings: Any,
) -> RunResult:
    """Go on with an interrupted run; one that is trained gets what it still lacks.

    The weights at the end are those of the uninterrupted run. `epochs`: train up to this many,
    also when the run had ended. `processes`: as many as now, whatever the run had; of several only
    the first comes back. `accept_changes`: where data or settings are not what they were,
    begin a new run that points to this one. `settings` are those of `opsin.train`: one that is not
    what the run has is such a change. `data` (DataLoaders), `model`, `loss`, `metrics`,
    `callbacks`: what the run had of your own, which stands in no file, is given again.

    Raises `WrongUsage` when data or settings changed (each difference is named), `Locked` while the
    run is in use, `ModelRefused` when no checkpoint is whole.
    """
    expect("torch", purpose="opsin train --resume")
    folder = open_run(Path(run))
    if read_config(folder.config).get("tune") is not False:
        prepare_environment()
    if not accept_changes:
        refuse_other_names(folder, {"model": model, "loss": loss})
    own = take_own({"model": model, "loss": loss}, metrics, callbacks)
    named = {"model": model, "loss": loss, "data": data}
    settings |= {name: value for name, value in named.items() if isinstance(value, str | Path)}
    data = None if isinstance(data, str | Path) else data
    progress = Silent() if rank_here() else progress or choose_progress()
    try:
        with nullcontext() if rank_here() else folder.locked():
            try:
                if settings:
                    _refuse_wishes(RunDir(folder.path), own, settings)
                if data is not None:
                    from opsin.api.own.training import resume_loaders

                    return resume_loaders(RunDir(folder.path), own, data, epochs, progress)
                return _resumed_by_all(RunDir(folder.path), own, epochs, processes, progress)
            except WrongUsage as error:
                if not accept_changes or error.code not in ("settings_changed", "data_changed"):
                    raise
                progress.line(f"accepted: {error.message}")
        return _begun_again(RunDir(folder.path), own, data, settings, progress)
    finally:
        progress.close()


def _resumed_by_all(
    run: RunDir, own: Own, epochs: int | None, processes: int | None, progress: Progress
) -> RunResult:
    refuse_other_parts(run, own)
    try:
        config = own.settle(read_config(run.config))
    except WrongUsage as error:
        error.where = error.where or str(run.config)
        raise
    if processes is not None:
        config = own.settle(config.model_dump() | {"processes": processes})
    arguments = {"run": str(run.path), "epochs": epochs}
    with started_ranks(config, "opsin.api.resume:resume", arguments) as ranks:
        return _resumed(run, own, config, epochs, ranks, progress)


def _resumed(
    run: RunDir,
    own: Own,
    config: TrainConfig,
    epochs: int | None,
    processes: Processes,
    progress: Progress,
) -> RunResult:
    from opsin.api.running.continuation import longer, where_it_was
    from opsin.api.running.job import Job, make_task
    from opsin.api.running.preparation import prepare
    from opsin.api.running.run import run_training
    from opsin.core.device import pick_device
    from opsin.data.intake import draw_split
    from opsin.data.manifest import contents
    from opsin.data.splits import Split
    from opsin.training.checkpoint import CheckpointStore
    from opsin.training.graphs import can_record

    saved, notes = _newest(CheckpointStore(run.checkpoints), processes)
    for note in notes:
        progress.line(note)
    if saved is None and not notes and run.metrics.exists():
        notes = ["the run has ended, and its checkpoints are gone"]
    if saved is None and notes:
        raise ModelRefused(
            f"no checkpoint of this run is whole ({notes[-1]})",
            code="no_checkpoint",
            where=str(run.checkpoints),
            fix=f"begin again: opsin train --config {run.config}",
        )
    if saved is not None:
        refuse_other_settings(run, saved.state["settings"], config)
        if saved.state["processes"] != processes.size:  # the cores are divided in another way
            config = config.model_copy(update={"threads": None})
    if config.graphs == "on" and not can_record(pick_device(config.device)):
        progress.line("this device has no CUDA graphs: the run goes on without")
        config = config.model_copy(update={"graphs": "off"})
    plan = prepare(config, own)
    intake, store = plan.take_in(progress, processes.size, write=processes.rank == 0)
    _refuse_changes(run, config, contents(intake.index, intake.records))
    if processes.rank:  # what the first has written is read, and not written again
        processes.any()
        epochs = int(read_config(run.config)["epochs"])
        config = config.model_copy(update={"epochs": epochs})
    config, saved = longer(run, config, saved, epochs, progress.line)
    begun = run.split.exists()
    split = Split.from_dict(read_record(run.split)) if begun else draw_split(intake, config)
    task, balance = make_task(config, intake, split, own)
    model = plan.model(task.num_outputs)
    if saved is not None and own.model is not None:
        from opsin.api.own.checks import refuse_other_module

        refuse_other_module(own.model, saved)
    parts = (config, plan, intake, store, split, task, balance, model, progress, processes)
    job = Job(run, *parts)
    if not begun:
        job.write_data_records()
        point_latest(run.path)
    if processes.rank == 0:
        processes.any()
    progress.line(where_it_was(run, saved))
    return run_training(job, resume_from=saved)


def _newest(store: CheckpointStore, processes: Processes) -> tuple[Saved | None, list[str]]:
    """The checkpoint that every process goes on from: the first one chooses."""
    if processes.rank == 0:
        saved, notes = store.newest()
        processes.share_text(saved.path.name if saved else "")
        return saved, notes
    chosen = processes.share_text(None)
    return (store.newest(set_aside=False)[0] if chosen else None), []


def _begun_again(
    old: RunDir, own: Own, data: Any, settings: dict[str, Any], progress: Progress
) -> RunResult:
    from opsin.api.train import new_run

    values = read_config(old.config) | settings
    if data is not None:
        from opsin.api.own.training import train_loaders

        values = {k: v for k, v in values.items() if k not in ("data", "batch_size", "workers")}
        return train_loaders(own, data, values, progress, follows=old.path)
    return new_run(own.settle(values), progress, follows=old.path, own=own)


def _refuse_wishes(run: RunDir, own: Own, settings: dict[str, Any]) -> None:
    """Refuse to go on with settings that are not the run's."""
    before = own.settle(read_config(run.config)).model_dump(mode="json")
    now = own.settle(before | settings).model_dump(mode="json")
    found = differing(before, now)
    if found:
        raise WrongUsage(
            f"a run goes on with its own settings: {'; '.join(found)}",
            code="settings_changed",
            where=str(run.path),
            fix="leave them out, or begin a new run: "
            f"opsin train --resume {run.path} --accept-changes and the settings",
        )


def refuse_other_settings(run: RunDir, before: dict[str, object], config: TrainConfig) -> None:
    """Refuse to go on with other settings, or with a split that is not the one trained on."""
    split = sha256_file(run.split) if run.split.exists() else "missing"
    # More epochs are another question, see `continuation.longer`.
    now = {**learning_settings(config), "split": split, "epochs": before.get("epochs")}
    found = differing(before, now)
    if found:
        raise WrongUsage(
            f"the run was trained with other settings: {'; '.join(found)}",
            code="settings_changed",
            where=str(run.path),
            fix="put them back, or begin a new run: "
            f"opsin train --resume {run.path} --accept-changes",
        )


def _refuse_changes(run: RunDir, config: TrainConfig, now: Contents) -> None:
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
