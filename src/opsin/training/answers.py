"""What frozen parts of a model say of a run's pictures: computed once, where it may be kept."""

from __future__ import annotations

from torch import nn

from opsin.core.config import TrainConfig
from opsin.core.device import memory
from opsin.core.words import size
from opsin.data.loader import Loader
from opsin.features.extract import Asking, FeatureLoader
from opsin.features.store import FeatureStore
from opsin.tasks.task import Task
from opsin.training.precision import Precision
from opsin.training.surroundings import Surroundings

MEMORY_FRAC = 0.25
"""Stored answers take at most this share of the machine's memory. Of all of it, not of what is
free: else a resumed run could go another way than the one it goes on with."""


class Answers:
    """Loaders of answers in place of those of the pictures, for the settings of a run."""

    def __init__(
        self, config: TrainConfig, task: Task, train: Loader, val: Loader, around: Surroundings
    ) -> None:
        self._config, self._task, self._around = config, task, around
        self._train, self._val = train, val
        self._views = config.views if config.augment != "none" else 1

    def fit(self, bytes_each: int) -> bool:
        """Whether `bytes_each` of every picture in every view may be held in memory."""
        limit = memory()[0]
        return not limit or self._total(bytes_each) <= MEMORY_FRAC * limit

    def loaders(
        self, front: nn.Module, bytes_each: int, what: str, name: str
    ) -> tuple[FeatureLoader, FeatureLoader] | None:
        """Training and validation as `what` the frozen `front` says, `bytes_each` a picture; None
        where it is to be asked in every step, and the reason is said. `name`: of `front`.
        """
        say = self._around.say
        if self._train.dataset.augmenter.mixes:
            say(f"pictures are mixed with others: {what} are computed in every step")
            return None
        if not self.fit(bytes_each):
            of = f" of {self._views} views" if self._views > 1 else ""
            say(
                f"{what}{of} would take {size(self._total(bytes_each))}, and a quarter of "
                f"{size(memory()[0])} is allowed: they are computed in every step"
            )
            return None
        asked = asking(self._config, self._around)
        train, val = (
            FeatureLoader(
                front,
                each,
                self._task.collate,
                asked,
                views=self._views,
                contents=self._around.contents(each),
                name=name,
            )
            for each in (self._train, self._val)
        )
        return train, val

    def _total(self, bytes_each: int) -> int:
        return bytes_each * (self._train.size * self._views + self._val.size)


def asking(config: TrainConfig, around: Surroundings) -> Asking:
    """How the settings want a frozen backbone to be asked, and where its answers are kept."""
    precision = Precision(config.precision, around.device)
    return Asking(
        around.device,
        precision=precision.name,
        autocast=precision.autocast,
        # A probe of the layout would find the same: what is asked once keeps the faster one.
        channels_last=config.layout != "contiguous",
        store=FeatureStore(say=around.say) if config.cache else None,
        on_batch=around.on_features,
        say=around.say,
    )
