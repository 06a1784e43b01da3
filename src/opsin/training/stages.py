"""The stages of a run: everything at once, or the head first and then more layers gently."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from opsin.core.batch import EpochLoader
from opsin.core.config import TrainConfig
from opsin.core.device import memory
from opsin.core.errors import WrongUsage
from opsin.core.micro_batch import MicroBatch
from opsin.core.words import size
from opsin.data.loader import Loader
from opsin.features.cut import Cut, before, cut, outputs_bytes
from opsin.features.extract import CPU, AllAtOnce, Asking, FeatureLoader
from opsin.features.store import FeatureStore
from opsin.models.classifier import Classifier
from opsin.tasks.task import Task
from opsin.training.norms import norms
from opsin.training.optim import make_optimizer, parameter_groups
from opsin.training.precision import Precision
from opsin.training.schedules import make_schedule
from opsin.training.solved import SolvedHead, why_by_steps
from opsin.training.stage import Stage
from opsin.training.supervised import SupervisedStep

GENTLE = 0.01
"""Fine-tuning goes on at this share of the rate."""
MEMORY_FRAC = 0.25
"""Stored activations take at most this share of the machine's memory. Of all of it, not of what is
free: else a resumed run could go another way than the one it goes on with."""

SOLVING = 7
"""What a head that is solved takes, in sizes of the features: they, all views of them as one, and
what standardising and the search hold (measured: 4 to 5)."""

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


def make_stages(
    config: TrainConfig,
    model: Classifier,
    task: Task,
    train: Loader,
    val: Loader,
    around: Surroundings = Surroundings(),
) -> list[Stage]:
    """One stage, or with `freeze` the head alone, or with `fine_tune` both after each other.

    A frozen backbone speaks once about each picture, in some fixed views where pictures are
    augmented. Where they are mixed with others, or the answers are too large, it is asked in every
    step. Raises `WrongUsage`.
    """
    makes = _Makes(config, model, task, train, val, around)
    if not config.freeze:
        everything = [each for each in model.parameters() if each.requires_grad]
        return [makes.stage("train", model, everything)]
    head = makes.head()
    return [head, makes.fine_tune()] if config.fine_tune else [head]


class _Makes:
    """The parts of `make_stages`."""

    def __init__(
        self,
        config: TrainConfig,
        model: Classifier,
        task: Task,
        train: Loader,
        val: Loader,
        around: Surroundings,
    ) -> None:
        self.config, self.model, self.task = config, model, task
        self.train, self.val, self.around = train, val, around
        self._say = around.say

    def stage(
        self,
        name: str,
        module: nn.Module,
        learning: Iterable[nn.Parameter],
        *,
        loaders: tuple[EpochLoader, EpochLoader] | None = None,
        lr: float | None = None,
        frozen: Sequence[nn.Module] = (),
        whole: nn.Module | None = None,
    ) -> Stage:
        config, lr = self.config, lr or self.config.lr
        step = make_step(
            config,
            module,
            self.task,
            learning,
            device=self.around.device,
            frozen=frozen,
            whole=whole,
            say=self._say,
        )
        schedule = make_schedule(config.schedule, warmup=config.warmup_epochs / config.epochs)
        return Stage(name, config.epochs, lr, *(loaders or (self.train, self.val)), step, schedule)

    def head(self) -> Stage:
        config, model = self.config, self.model
        learning = tuple(model.head.parameters())
        why = why_by_steps(
            config,
            model.head,
            self.task,
            mixes=self.train.dataset.augmenter.mixes,
            processes=self.around.processes,
        )
        features = model.head.in_features * 4
        if not why and not self._fits(self._total(features * SOLVING)):
            why = "solving would take more than a quarter of the memory"
        stored = self._stored(model.backbone, features, "features")
        why = why or ("" if stored else "the features are too large to be kept")
        if why and config.head == "solved":
            raise WrongUsage(
                f"the head cannot be solved: {why}",
                code="head_not_solved",
                where="head",
                fix="--head trained, or auto",
            )
        if why and config.head == "auto" and not self.around.by_steps:
            self._say(f"head   learns by steps and is not solved: {why}")
        if stored is None:
            return self.stage("head", model, learning, frozen=(model.backbone,))
        made = self.stage("head", model.head, learning, loaders=stored)
        if why or self.around.by_steps:
            return made
        assert isinstance(made.step, SupervisedStep)
        step = SolvedHead(
            made.step,
            stored[1],
            by="accuracy" if config.monitor == "val_accuracy" else "loss",
            class_weights=self.around.class_weights,
            even_classes=self.train.balanced,
            on_step=self.around.on_solve,
            say=self._say,
        )
        # One epoch with no rate: schedules, patience and epochs are those of what learns by steps.
        return Stage("head", 1, 0.0, AllAtOnce(stored[0]), stored[1], step)

    def fine_tune(self) -> Stage:
        config, model = self.config, self.model
        gentle = config.lr * GENTLE
        if config.unfreeze is None:
            return self.stage(
                "fine-tune", model, model.parameters(), lr=gentle, frozen=norms(model)
            )
        parts = cut(model.backbone, config.unfreeze)
        if parts is None:
            self._say(
                f"the forward of {config.model} cannot be traced: what lies before "
                f"{config.unfreeze} is computed in every step"
            )
            kept, learning = before(model.backbone, config.unfreeze)
            learning = [*learning, *model.head.parameters()]
            frozen = (*kept, *norms(model))
            return self.stage("fine-tune", model, learning, lr=gentle, frozen=frozen)
        learning = [*parts.tail.parameters(), *model.head.parameters()]
        stored = None if self.around.by_steps else self._activations(parts)
        if stored is None:
            frozen = (parts.front, *norms(model))
            return self.stage("fine-tune", model, learning, lr=gentle, frozen=frozen)
        tail = nn.Sequential(parts.tail, model.head)
        frozen = norms(tail)
        return self.stage(
            "fine-tune", tail, learning, loaders=stored, lr=gentle, frozen=frozen, whole=model
        )

    @property
    def _views(self) -> int:
        return self.config.views if self.config.augment != "none" else 1

    def _total(self, each: int) -> int:
        """Bytes of all pictures in all views, at `each`."""
        return each * (self.train.size * self._views + self.val.size)

    @staticmethod
    def _fits(total: int) -> bool:
        limit = memory()[0]
        return not limit or total <= MEMORY_FRAC * limit

    def _activations(self, parts: Cut) -> tuple[FeatureLoader, FeatureLoader] | None:
        if not parts.front_computes:
            return None
        needed = outputs_bytes(parts.front, self.train.dataset.store.spec.size_px)
        name = f"the activations before {self.config.unfreeze}"
        return self._stored(parts.front, needed, name)

    def _stored(
        self, front: nn.Module, needed: int, what: str
    ) -> tuple[FeatureLoader, FeatureLoader] | None:
        """Loaders of what `front` says, `needed` bytes a picture; None where it is to be asked in
        every step, and the reason is said.
        """
        config, around = self.config, self.around
        if self.train.dataset.augmenter.mixes:
            self._say(f"pictures are mixed with others: {what} are computed in every step")
            return None
        total = self._total(needed)
        if not self._fits(total):
            of = f" of {self._views} views" if self._views > 1 else ""
            self._say(
                f"{what}{of} would take {size(total)}, and a quarter of {size(memory()[0])} is "
                "allowed: they are computed in every step"
            )
            return None
        asked = asking(config, around)
        train, val = (
            FeatureLoader(
                front,
                each,
                self.task.collate,
                asked,
                views=self._views,
                contents=around.contents(each),
                name=config.model if what == "features" else f"{config.model} {config.unfreeze}",
            )
            for each in (self.train, self.val)
        )
        return train, val


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


def make_step(
    config: TrainConfig,
    module: nn.Module,
    task: Task,
    learning: Iterable[nn.Parameter],
    *,
    device: torch.device,
    frozen: Sequence[nn.Module] = (),
    whole: nn.Module | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> SupervisedStep:
    """The step that the settings describe, for the parameters `learning` of `module`, whose depth
    is counted in `whole` (else in `module`).
    """
    groups = parameter_groups(
        whole or module, learning, weight_decay=config.weight_decay, layer_decay=config.layer_decay
    )
    optimizer = make_optimizer(
        config.optimizer,
        groups,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        # The scaler of float16 leaves a step out by itself, which fused updates would do too.
        fused=config.precision != "float16",
    )
    return SupervisedStep(
        module,
        task,
        optimizer,
        frozen=frozen,
        micro=MicroBatch(config.accumulate, say=say),
        precision=Precision(config.precision, device),
        clip_norm=config.clip_norm,
        l1=config.l1,
        l2=config.l2,
    )
