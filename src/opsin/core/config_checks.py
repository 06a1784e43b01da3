"""A `TrainConfig` of what somebody asked for: every error at once, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from opsin.core.config import TrainConfig
from opsin.core.errors import WrongUsage
from opsin.core.registry import near, unknown


def make_config(values: Mapping[str, Any]) -> TrainConfig:
    """A `TrainConfig` from names and values. Raises `WrongUsage` that lists all errors at once."""
    try:
        config = TrainConfig.model_validate(dict(values))
    except ValidationError as error:
        raise WrongUsage(
            "; ".join(_explain(problem) for problem in error.errors()), code="bad_setting"
        ) from None
    if config.val_frac + config.test_frac >= 1:
        raise WrongUsage("val_frac + test_frac must leave something to train on", where="val_frac")
    if config.name == "latest":
        raise WrongUsage("runs/latest points to the newest run; take another name", where="name")
    if config.warmup_epochs >= config.epochs:
        raise WrongUsage(
            f"a warm-up of {config.warmup_epochs:g} epochs leaves nothing of {config.epochs}",
            where="warmup_epochs",
        )
    if config.patience is None and config.baseline is not None:
        raise WrongUsage("a baseline needs --patience: after how many epochs", where="baseline")
    if config.patience is None and config.min_delta and config.schedule != "plateau":
        raise WrongUsage("counts only with --patience or --schedule plateau", where="min_delta")
    if config.fine_tune and not config.freeze:
        config = config.model_copy(update={"freeze": True})
    if config.unfreeze is not None and not config.fine_tune:
        raise WrongUsage("says where --fine-tune begins, which is not asked for", where="unfreeze")
    if config.head == "solved" and (reason := why_head_learns_by_steps(config)):
        raise WrongUsage(
            f"the head cannot be solved: {reason}",
            code="head_not_solved",
            where="head",
            fix="--head trained, or auto",
        )
    return config


def why_head_learns_by_steps(config: TrainConfig) -> str:
    """The setting for which a head cannot be solved at once; empty where there is none."""
    if not config.freeze:
        return "only that of a frozen backbone can (--freeze)"
    if config.head == "trained":
        return "head trained"
    wanted = {"loss": "cross_entropy", "label_smoothing": 0, "dropout": 0, "l1": 0, "l2": 0}
    wanted |= {"ema": None, "processes": 1}
    for name, value in wanted.items():
        if getattr(config, name) != value:
            return f"{name} {getattr(config, name)}"
    return ""


def _explain(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        matches = near(name, list(TrainConfig.model_fields))
        meant = f'; did you mean "{matches[0]}"?' if matches else ""
        return f'unknown setting "{name}"{meant}'
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        allowed = [
            word.strip(" '") for word in problem["ctx"]["expected"].replace(" or ", ", ").split(",")
        ]
        return f"{name}: {unknown(name, problem['input'], allowed).message}"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"{name}: {message}, came {problem.get('input')!r}"
