"""`Surroundings`: what the stages of a run need beside settings, model and data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from opsin.data.loader import Loader
from opsin.features.extract import CPU

Steps = Callable[[int, int], None]


def _nothing(done: int, total: int) -> None:
    return


@dataclass(frozen=True)
class Surroundings:
    """What stages need beside settings, model and data. `contents`: the SHA-256 of each picture of
    a loader, by position (None: nothing is stored on disk); `class_weights`: those of the task;
    `on_features`, `on_solve`: hear how many of how many are done. `by_steps`: every stage learns by
    steps on what the loop would give it, and no stage from stored activations (for trials).
    """

    device: torch.device = CPU
    contents: Callable[[Loader], Sequence[str] | None] = lambda loader: None
    class_weights: Sequence[float] | None = None
    processes: int = 1
    by_steps: bool = False
    on_features: Steps = _nothing
    on_solve: Steps = _nothing
    say: Callable[[str], None] = field(default=lambda text: None)
