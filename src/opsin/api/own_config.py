"""The settings of a run whose model or loss is somebody's own."""

from __future__ import annotations

from pydantic import Field

from opsin.core.config import TrainConfig


class OwnConfig(TrainConfig):
    """`model` and `loss` may be `own:NAME`: written down, and given again from Python."""

    loss: str = Field("cross_entropy", description="own:NAME, or one that is known by name")  # type: ignore[assignment]
