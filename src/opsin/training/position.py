"""Where the loop stands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Position:
    """Whole epochs are in the history; `step` counts inside the next one, `total` over all.
    `seconds`: what this epoch has taken so far; `enough`: a callback asked to end it here.
    """

    stage: int = 0
    stage_ended: bool = False
    step: int = 0
    total: int = 0
    seconds: float = 0.0
    enough: bool = False
