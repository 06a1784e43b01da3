"""`opsin train`: split, train, evaluate, report and bundle, into a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsin.api.own.parts import NOTHING, Own, take_own
from opsin.api.run_result import RunResult
from opsin.api.running.ranks import rank_here, started_ranks
from opsin.core.allocator import prepare_environment
from opsin.core.cache_dir import VARIABLE as CACHE_DIR
from opsin.core.config import TrainConfig
from opsin.core.config_file import write_config
from opsin.core.extras import expect
from opsin.core.files import check_writable, write_json
from opsin.core.progress import Progress, Silent, choose_progress
from opsin.core.run_dir import RunDir, create_run, point_latest, run_name

if TYPE_CHECKING:
    from opsin.training.processes import Processes


def train(
    data: str | Path | Any = None,
    *,
    config: str | Path | None = None,
    progress: Progress | None = None,
    metrics: Any = (),
    callbacks: Any = (),
    **settings: Any,
) -> RunResult:
    """Train a model on the folder `data` and return the run.

    `settings` are those of `opsin.core.config.TrainConfig` (`model="tinyvgg"`, `epochs=20`, ...);
    `config` is a YAML file of the same names, which `settings` override. No run folder is made
    when data or settings are refused.

    Of your own may be (see docs/own.md): `model`, an `nn.Module`; `loss`, a function of outputs and
    targets; `metrics`, of torchmetrics or functions; `callbacks`; and `data`, DataLoaders (train,
    val) or (train, val, test), or a dict of them.

    Raises `WrongUsage`, `DataRefused`, `ModelRefused`, `NumbersWrong`, `NoRoom`, `Interrupted`.
    """
    expect("torch", purpose="opsin train")
    own = take_own(settings, metrics, callbacks)
    progress = Silent() if rank_here() else progress or choose_progress()
    try:
        if data is not None and not isinstance(data, str | Path):
            from opsin.api.own.training import train_loaders

            return train_loaders(own, data, merge(settings, config), progress)
        return new_run(resolve({"data": data} | settings, config, own), progress, own=own)
    finally:
        progress.close()


def merge(settings: Mapping[str, Any], config: str | Path | None = None) -> dict[str, Any]:
    """File < environment (`OPSIN_EPOCHS=5`) < `settings`, unchecked."""
    import os

    from opsin.core.config_file import read_config

    values: dict[str, Any] = dict(read_config(Path(config))) if config else {}
    values |= from_environment(os.environ)
    return values | {name: value for name, value in settings.items() if value is not None}


def resolve(
    settings: Mapping[str, Any], config: str | Path | None = None, own: Own = NOTHING
) -> TrainConfig:
    """Defaults < what `merge` gives, checked all at once; `own` parts stand in it by name."""
    from opsin.core.errors import WrongUsage
    from opsin.models.record import read_record

    values = merge(settings, config)
    if values.get("data") in (None, ""):
        raise WrongUsage(
            "no data given",
            code="no_data",
            where="data",
            fix="opsin train FOLDER, one folder per class inside",
        )
    record = values.get("weights_record")
    if isinstance(values.get("weights"), str | Path) and values.get("model") is None:
        found = read_record(Path(values["weights"]), Path(record) if record else None)
        values["model"] = found.architecture
    for name in ("data", "weights", "weights_record"):
        if isinstance(values.get(name), str | Path):
            values[name] = Path(values[name]).expanduser().absolute()
    return own.settle(values)


def from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings among `OPSIN_...` variables. Raises `WrongUsage` for one that is nearly one.

    >>> from_environment({"OPSIN_EPOCHS": "5", "HOME": "/"})
    {'epochs': '5'}
    """
    from opsin.core.errors import WrongUsage
    from opsin.core.registry import near

    names = list(TrainConfig.model_fields)
    found = {}
    for variable, value in environment.items():
        name = variable.removeprefix("OPSIN_").lower()
        if not variable.startswith("OPSIN_") or variable == CACHE_DIR:
            continue
        if name in names:
            found[name] = value
        elif matches := near(name, names):
            raise WrongUsage(
                f'unknown setting; did you mean "OPSIN_{matches[0].upper()}"?', where=variable
            )
    return found


def new_run(
    config: TrainConfig,
    progress: Progress,
    *,
    follows: Path | None = None,
    own: Own = NOTHING,
) -> RunResult:
    """A new run folder, trained; `follows` is the run that it takes the place of. Of several
    processes only the first comes back.
    """
    # torch and everything that needs it is loaded only once the settings are known to be right.
    progress.step("loading torch", 0, 1)
    if config.tune:
        prepare_environment()
    settings = config.model_dump(mode="json")
    with started_ranks(config, "opsin.api.train:train", settings) as processes:
        return _new_run(config, progress, follows, processes, own)


def _new_run(
    config: TrainConfig,
    progress: Progress,
    follows: Path | None,
    processes: Processes,
    own: Own,
) -> RunResult:
    from opsin.api.own.record import own_record
    from opsin.api.running.fit import monitors, refuse_stages
    from opsin.api.running.job import Job, make_task
    from opsin.api.running.preparation import prepare
    from opsin.api.running.run import run_training
    from opsin.data.intake import draw_split
    from opsin.training.monitor import recorded

    progress.step("loading torch", 1, 1)
    plan = prepare(config, own)
    if processes.rank == 0:
        check_writable(config.project)
    intake, store = plan.take_in(progress, processes.size, write=processes.rank == 0)
    split = draw_split(intake, config)
    task, balance = make_task(config, intake, split, own)
    watched = recorded(monitors(config, task))
    model = plan.model(task.num_outputs)
    config = plan.resolved()
    parts = (config, plan, intake, store, split, task, balance, model, progress, processes)
    if processes.rank:
        return run_training(Job(RunDir(Path(processes.share_text(None))), *parts))
    refuse_stages(Job(RunDir(config.project), *parts))
    run = create_run(config.project, run_name(config))
    with run.locked():
        write_config(run.config, config)
        environment = plan.environment() | own_record(own) | {"larger_is_better": watched}
        write_json(run.environment, environment | ({"follows": str(follows)} if follows else {}))
        job = Job(run, *parts)
        job.write_data_records()
        point_latest(run.path)
        processes.share_text(str(run.path))
        return run_training(job)
