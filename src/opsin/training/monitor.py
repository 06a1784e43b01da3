"""What decides which epoch is the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opsin.core.direction import grows_by_name


@dataclass(frozen=True)
class Monitor:
    """A value of the epochs' records, and when a new one is better than an old one.

    `min_delta`: a smaller gain is none. Whether higher is better follows from the name unless
    `higher` says it.

    >>> Monitor("val_loss").better(0.4, 0.5), Monitor("val_accuracy", 0.01).better(0.905, 0.9)
    (True, False)
    """

    name: str
    min_delta: float = 0.0
    higher: bool | None = None

    @property
    def higher_is_better(self) -> bool:
        """True for accuracy and its like, False for losses and errors."""
        if self.higher is not None:
            return self.higher
        return grows_by_name(self.name.partition(":")[0])

    def better(self, new: float, old: float) -> bool:
        """Whether `new` beats `old` by more than `min_delta`."""
        gain = new - old if self.higher_is_better else old - new
        return gain > self.min_delta


def recorded(monitors: Sequence[Monitor]) -> dict[str, bool]:
    """For `env.json`: each name and whether more of it is better; a name alone cannot tell."""
    return {monitor.name: monitor.higher_is_better for monitor in monitors}


def monitor_of(name: str, environment: Mapping[str, Any]) -> Monitor:
    """The monitor `name` of a run, whose `env.json` is `environment`."""
    higher = environment.get("larger_is_better", {})
    return Monitor(name, higher=higher.get(name) if isinstance(higher, Mapping) else None)
