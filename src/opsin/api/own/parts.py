"""`Own`: what a person brings to a training beside data and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from opsin.core.config import TrainConfig
from opsin.core.config_checks import make_config
from opsin.core.errors import WrongUsage
from opsin.models.own import OWN

if TYPE_CHECKING:
    from torch import nn

    from opsin.tasks.own_loss import LossFunction
    from opsin.tasks.own_metrics import OwnMetric
    from opsin.training.callback import Callback

_MODEL_SETTINGS = {
    "pretrained": "load them into the module before",
    "weights": "load them into the module before",
    "weights_record": "load them into the module before",
    "fine_tune": "two calls: with a part of the module frozen, and with all of it",
    "freeze": "requires_grad_(False) on what shall stay as it is",
    "dropout": "nn.Dropout in the module",
}
_LOSS_SETTINGS = {"label_smoothing": "let the loss do it"}


class OwnConfig(TrainConfig):
    """`model` and `loss` may be `own:NAME`: written down, and given again from Python."""

    loss: str = Field("cross_entropy", description="own:NAME, or one that is known by name")  # type: ignore[assignment]


@dataclass(frozen=True)
class Own:
    """A module, a loss, metrics and callbacks of somebody's own; None and empty where there are
    none. Raises `WrongUsage` for what is none of these.
    """

    model: nn.Module | None = None
    loss: LossFunction | None = None
    metrics: Sequence[OwnMetric] | Mapping[str, OwnMetric] = ()
    callbacks: tuple[Callback, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(
            self.model is not None or self.loss is not None or self.metrics or self.callbacks
        )

    def names(self) -> dict[str, Any]:
        """As JSON, for `env.json`: a resumed run needs the same."""
        if not self:  # and torch is not loaded yet: what it reads then is settled by the settings
            return {"model": None, "loss": None, "metrics": [], "callbacks": []}
        from opsin.tasks.own_loss import OwnLoss
        from opsin.tasks.own_metrics import name_metrics

        return {
            "model": None if self.model is None else type(self.model).__name__,
            "loss": None if self.loss is None else OwnLoss(self.loss).name,
            "metrics": list(name_metrics(self.metrics)),
            "callbacks": [type(each).__name__ for each in self.callbacks],
        }

    def settle(self, values: Mapping[str, Any]) -> TrainConfig:
        """The settings `values`, in which own parts stand as `own:NAME`. Raises `WrongUsage` for
        settings that mean nothing beside them, and for a part that is named and not given.
        """
        names = self.names()
        given = {part: f"{OWN}{names[part]}" for part in ("model", "loss") if names[part]}
        for part in ("model", "loss"):
            named = str(values.get(part, ""))
            if named.startswith(OWN) and part not in given:
                raise WrongUsage(
                    f"{named} is of somebody's own and stands in no file",
                    code="own_part_missing",
                    where=part,
                    fix=f"from Python: opsin.train(..., {part}={named.removeprefix(OWN)}())",
                )
        config = make_config({k: v for k, v in values.items() if k not in given})
        if not self:
            return config
        refused = (_MODEL_SETTINGS if self.model is not None else {}) | (
            _LOSS_SETTINGS if self.loss is not None else {}
        )
        for name, instead in refused.items():
            if getattr(config, name) != TrainConfig.model_fields[name].default:
                raise WrongUsage(
                    "this setting is for the models and losses that opsin knows by name",
                    code="setting_not_for_own",
                    where=name,
                    fix=instead,
                )
        if config.processes > 1:
            raise WrongUsage(
                "what is of your own cannot be handed to another process",
                code="setting_not_for_own",
                where="processes",
                fix="leave it at 1",
            )
        return OwnConfig.model_validate(config.model_dump() | given) if given else config


NOTHING = Own()


def take_own(settings: dict[str, Any], metrics: Any = (), callbacks: Any = ()) -> Own:
    """The own parts among the arguments of a verb; `model` and `loss` are taken out of `settings`
    where they are no names. Loads torch only if there are any.
    """
    parts = {
        name: settings.pop(name)
        for name in ("model", "loss")
        if settings.get(name) is not None and not isinstance(settings[name], str)
    }
    if not parts and not metrics and not callbacks:
        return NOTHING
    from opsin.api.own.checks import check_callbacks, check_loss, check_module
    from opsin.tasks.own_metrics import name_metrics

    if "model" in parts:
        check_module(parts["model"])
    if "loss" in parts:
        check_loss(parts["loss"])
    if not isinstance(metrics, Mapping | list | tuple):
        metrics = [metrics]
    own = Own(
        parts.get("model"), parts.get("loss"), name_metrics(metrics), check_callbacks(callbacks)
    )
    own.names()
    return own
