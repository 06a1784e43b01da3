"""`opsin find`: a learning rate, a batch size, or whether the model can learn at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsin.api.found import BatchSizeFound, Found, OverfitFound, RateFound
from opsin.core.allocator import prepare_environment
from opsin.core.config import TrainConfig
from opsin.core.extras import expect, require
from opsin.core.progress import Progress, choose_progress
from opsin.core.registry import unknown

if TYPE_CHECKING:
    from opsin.training.finders.overfit import Memorised

FINDERS = ("lr", "batch-size", "overfit")
BY_HEART = {"augment": "none", "dropout": 0.0, "label_smoothing": 0.0}
"""What would keep a model from learning a batch by heart without being a fault."""


def find(
    what: str,
    data: str | Path | None = None,
    *,
    config: str | Path | None = None,
    output: str | Path | None = "lr.svg",
    progress: Progress | None = None,
    **settings: Any,
) -> Found:
    """Try the job that `opsin.train(data, **settings)` would run; no run folder is made.

    `what`: "lr" (learning rate range test; draws `output`, or `lr-2.svg` and so on where that is
    there), "batch-size" (what fits, and how fast it is) or "overfit" (one batch by heart). Settings
    are those of `opsin.train`; of its stages the first is tried.

    Raises what `opsin.train` raises, and `WrongUsage` for another `what`.
    """
    if what not in FINDERS:
        raise unknown("finder", what, list(FINDERS))
    expect("torch", purpose="opsin find")
    from opsin.api.train import resolve

    resolved = resolve({"data": data} | settings, config)
    if resolved.tune:
        prepare_environment()
    progress = progress or choose_progress()
    try:
        if what == "batch-size":
            return _batch_size(resolved, progress)
        if what == "overfit":
            return _overfit(resolved, progress)
        return _rate(resolved, Path(output) if output is not None else None, progress)
    finally:
        progress.close()


def _rate(config: TrainConfig, output: Path | None, progress: Progress) -> RateFound:
    if output is not None:
        from opsin.core.files import check_writable
        from opsin.report.rate_plot import check_format

        require("matplotlib", purpose="the plot")
        check_format(output)
        check_writable(output.absolute().parent)
    from opsin.api.running.trial import trial_job, trial_stages
    from opsin.training.finders.rate import rate_range

    job = trial_job(config, progress)
    curve = rate_range(
        trial_stages(job)[0],
        device=job.plan.device,
        seed=config.seed,
        on_step=lambda done, total: progress.step("learning rate", done, total),
    )
    if output is None or not curve.rates:
        return RateFound(curve, None)
    from opsin.core.files import write_bytes
    from opsin.report.rate_plot import rate_plot

    place = _free_name(output)
    write_bytes(place, rate_plot(curve, place.suffix.lstrip(".").lower()))
    return RateFound(curve, place)


def _batch_size(config: TrainConfig, progress: Progress) -> BatchSizeFound:
    from opsin.api.running.trial import trial_job, trial_stages
    from opsin.training.finders.batch_size import batch_sizes

    job = trial_job(config, progress)
    sizes = batch_sizes(
        trial_stages(job)[0],
        device=job.plan.device,
        on_size=lambda size, _: progress.step(f"batch of {size}", 0, 1),
    )
    return BatchSizeFound(sizes)


def _overfit(config: TrainConfig, progress: Progress) -> OverfitFound:
    from opsin.api.running.trial import trial_job, trial_stages
    from opsin.training.finders.overfit import overfit

    job = trial_job(config.model_copy(update=BY_HEART), progress)
    result = overfit(
        trial_stages(job)[0],
        device=job.plan.device,
        seed=config.seed,
        on_step=lambda done, total: progress.step("one batch by heart", done, total),
    )
    return OverfitFound(result, () if result.passed else tuple(advice(result, config)))


def advice(result: Memorised, config: TrainConfig) -> list[str]:
    """What to look at, most likely first, where a batch was not learnt."""
    rate = config.lr
    found = {
        "not finite": [f"the loss is not a finite number: a lower rate than {rate:g}"],
        "rises": [f"the loss rises: a lower rate than {rate:g}"],
        "stands": [
            f"the loss hardly moves: a rate that is neither too low nor too high; it is {rate:g}"
        ],
        "falls slowly": [f"the loss falls, but slowly: a higher rate than {rate:g}"],
    }[result.fault]
    found[0] += f" (opsin find lr {config.data} says which)"
    if result.learning < result.parameters:
        found.append(
            f"frozen layers: {result.learning:,} of {result.parameters:,} parameters learn"
        )
    elif config.freeze:
        found.append(f"the backbone is frozen: {result.learning:,} parameters of the head learn")
    held = [f"{name} {getattr(config, name):g}" for name in ("weight_decay", "l1", "l2")]
    held = [text for text in held if not text.endswith(" 0")]
    if config.clip_norm:
        held.append(f"clip_norm {config.clip_norm:g}")
    if held:
        found.append(f"what holds weights back: {', '.join(held)}")
    found.append("labels: the same picture under two classes, or a loss that does not fit them")
    found.append("the model: an activation after its last layer, a part that gets no gradient")
    return found


def _free_name(path: Path) -> Path:
    """`path`, or the first of `name-2`, `name-3`, ... that is not there."""
    found, number = path, 1
    while found.exists() or found.is_symlink():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found
