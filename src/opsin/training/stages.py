"""The stages of a run: everything at once, or the head first and then more layers gently."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from opsin.core.batch import EpochLoader
from opsin.core.config import TrainConfig
from opsin.core.errors import WrongUsage
from opsin.core.micro_batch import MicroBatch
from opsin.data.loader import Loader
from opsin.features.cut import before, cut, outputs_bytes
from opsin.features.extract import AllAtOnce
from opsin.models.classifier import Classifier
from opsin.tasks.task import Task
from opsin.training.answers import Answers
from opsin.training.graphs import GraphedForward
from opsin.training.norms import norms
from opsin.training.optim import make_optimizer, parameter_groups
from opsin.training.precision import Precision
from opsin.training.schedules import make_schedule
from opsin.training.solved import SolvedHead, why_by_steps
from opsin.training.stage import Stage
from opsin.training.supervised import SupervisedStep
from opsin.training.surroundings import Surroundings

GENTLE = 0.01
"""Fine-tuning goes on at this share of the rate."""
SOLVING = 7
"""What a head that is solved takes, in sizes of the features: they, all views of them as one, and
what standardising and the search hold (measured: 4 to 5)."""


def make_stages(
    config: TrainConfig,
    model: Classifier,
    task: Task,
    train: Loader,
    val: Loader,
    around: Surroundings | None = None,
) -> list[Stage]:
    """One stage, or with `freeze` the head alone, or with `fine_tune` both after each other.

    A frozen backbone speaks once about each picture, in some fixed views where pictures are
    augmented. Where they are mixed with others, or the answers are too large, it is asked in every
    step. Raises `WrongUsage`.
    """
    makes = _Makes(config, model, task, train, val, around or Surroundings())
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
        self.answers = Answers(config, task, train, val, around)
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
            graphs=self._graphs() if name == "train" and config.graphs == "on" else None,
            say=self._say,
        )
        schedule = make_schedule(config.schedule, warmup=config.warmup_epochs / config.epochs)
        return Stage(name, config.epochs, lr, *(loaders or (self.train, self.val)), step, schedule)

    def _graphs(self) -> GraphedForward:
        size_px = self.train.dataset.store.spec.size_px
        return GraphedForward((self.config.batch_size, 3, *size_px), say=self._say)

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
        if not why and not self.answers.fit(features * SOLVING):
            why = "solving would take more than a quarter of the memory"
        stored = self.answers.loaders(model.backbone, features, "features", config.model)
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
        stored = None
        if parts.front_computes and not self.around.by_steps:
            stored = self.answers.loaders(
                parts.front,
                outputs_bytes(parts.front, self.train.dataset.store.spec.size_px),
                f"the activations before {config.unfreeze}",
                f"{config.model} {config.unfreeze}",
            )
        if stored is None:
            frozen = (parts.front, *norms(model))
            return self.stage("fine-tune", model, learning, lr=gentle, frozen=frozen)
        tail = nn.Sequential(parts.tail, model.head)
        frozen = norms(tail)
        return self.stage(
            "fine-tune", tail, learning, loaders=stored, lr=gentle, frozen=frozen, whole=model
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
    graphs: GraphedForward | None = None,
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
        graphs=graphs,
    )
