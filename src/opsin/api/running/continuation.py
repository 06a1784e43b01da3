"""Where an interrupted run was, and how a run that ended goes on for more epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from opsin.core.config import TrainConfig
from opsin.core.config_file import write_config
from opsin.core.errors import WrongUsage
from opsin.core.run_dir import RunDir
from opsin.core.words import duration, plural
from opsin.training.checkpoint import Saved
from opsin.training.schedules import make_schedule
from opsin.training.stages import GENTLE

Say = Callable[[str], None]


def where_it_was(run: RunDir, saved: Saved | None) -> str:
    """A sentence: how far the run came, and from where it goes on."""
    reached = _position(run)
    broken = f"was interrupted at step {reached}; " if reached else ""
    if saved is None:
        return f"run {run.path.name} {broken}has no checkpoint yet; beginning at the first step"
    position = saved.state["position"]
    total, epochs = position["total"], len(saved.state["history"])
    if reached is not None and reached <= total:
        broken = ""
    inside = f", and {plural(position['step'], 'step')} of epoch {epochs + 1}"
    return (
        f"run {run.path.name} {broken}going on after step {total} "
        f"({plural(epochs, 'whole epoch')}{inside if position['step'] else ''}; checkpoint checked)"
    )


def longer(
    run: RunDir, config: TrainConfig, saved: Saved | None, epochs: int | None, say: Say
) -> tuple[TrainConfig, Saved | None]:
    """Settings and checkpoint of a run that shall have more epochs (of its last stage) than it was
    begun with: `epochs`, or what `config.yaml` says by now. It is said what that does to the rate;
    the new number goes into `config.yaml`, and a bundle of the shorter run is set aside.

    Raises `WrongUsage` for fewer epochs, and where `max_time` leaves none.
    """
    before = saved.state["settings"]["epochs"] if saved else config.epochs
    wanted = config.epochs if epochs is None else epochs
    if wanted < before:
        raise WrongUsage(
            f"the run was begun with {before} epochs and can have more, came {wanted}",
            code="fewer_epochs",
            where="epochs",
            fix=f"--epochs {before + 1} or more; for fewer begin a new run",
        )
    if saved is not None and wanted > before:
        _refuse_without_time(run, config, saved)
    if wanted != config.epochs:
        config = config.model_copy(update={"epochs": wanted})
        write_config(run.config, config)
    if saved is None or wanted == before:
        return config, saved
    if saved.state["learner"]["own"].get("choice") and not config.fine_tune:
        say("the head is solved, which knows no epochs: there is nothing to go on with")
        return config, saved
    position, history = saved.state["position"], saved.state["history"]
    stage = history[-1]["stage"] if history else ""
    done = sum(row["stage"] == stage for row in history)
    say(_rate_after(config, before, done, stage))
    if position["stage_ended"] and done < before:
        say(f"it had stopped after {done} of {before} epochs, and may do so again")
    if run.bundle.exists():
        aside = run.bundle.with_name(f"bundle-after-{len(history)}-epochs")
        run.bundle.rename(aside)
        say(f"the bundle so far is kept as {aside.name}")
    return config, replace(
        saved, state=saved.state | {"position": position | {"stage_ended": False}}
    )


def _refuse_without_time(run: RunDir, config: TrainConfig, saved: Saved) -> None:
    used = saved.state["callbacks"].get("TimeBudget", {}).get("seconds", 0.0)
    took = [row["seconds"] for row in saved.state["history"]]
    if config.max_time and took and config.max_time - used < took[-1]:
        raise WrongUsage(
            f"its time of {duration(config.max_time)} is over, {duration(used)} were used",
            code="time_over",
            where="max_time",
            fix="begin a new run that points to this one: "
            f"opsin train --resume {run.path} --accept-changes --max-time TIME",
        )


def _rate_after(config: TrainConfig, before: int, done: int, stage: str) -> str:
    """What becomes of the rate: a schedule is a function of progress, so it is stretched."""
    peak = config.lr * (GENTLE if stage == "fine-tune" else 1)
    old = make_schedule(config.schedule, warmup=config.warmup_epochs / before)
    new = make_schedule(config.schedule, warmup=config.warmup_epochs / config.epochs)
    was, becomes = peak * old(min(1.0, done / before)), peak * new(done / config.epochs)
    if config.max_time:
        return (
            f"{before} epochs become {config.epochs}, or as many as fit into "
            f"{duration(config.max_time)}: schedule {config.schedule} is stretched over those"
        )
    return (
        f"{before} epochs become {config.epochs}: schedule {config.schedule} is stretched over all "
        f"of them, so the rate goes from {was:.3g} to {becomes:.3g} at the next step"
    )


def _position(run: RunDir) -> int | None:
    from opsin.training.callbacks.position_file import read_position

    return read_position(run.position)
