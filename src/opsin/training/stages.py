"""The stages of a run: everything at once, or the head first and then all layers gently."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from opsin.core.batch import EpochLoader
from opsin.core.config import TrainConfig
from opsin.core.micro_batch import MicroBatch
from opsin.data.loader import Loader
from opsin.features.extract import FeatureLoader
from opsin.models.classifier import Classifier
from opsin.tasks.task import Task
from opsin.training.norms import norms
from opsin.training.optim import make_optimizer, parameter_groups
from opsin.training.precision import Precision
from opsin.training.schedules import make_schedule
from opsin.training.stage import Stage
from opsin.training.supervised import SupervisedStep

GENTLE = 0.01
"""Fine-tuning goes on at this share of the rate."""


def make_stages(
    config: TrainConfig,
    model: Classifier,
    task: Task,
    train: Loader,
    val: Loader,
    *,
    device: torch.device,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Stage]:
    """One stage, or with `freeze` the head alone, or with `fine_tune` both after each other.

    A frozen backbone speaks once about each picture when nothing random comes before it; with
    augmentation it is asked in every step.
    """
    everything = tuple(each for each in model.parameters() if each.requires_grad)

    def stage(
        name: str,
        module: nn.Module,
        learning: Iterable[nn.Parameter],
        *,
        loaders: tuple[EpochLoader, EpochLoader] = (train, val),
        lr: float = config.lr,
        frozen: Sequence[nn.Module] = (),
    ) -> Stage:
        step = make_step(config, module, task, learning, device=device, frozen=frozen, say=say)
        schedule = make_schedule(config.schedule, warmup=config.warmup_epochs / config.epochs)
        return Stage(name, config.epochs, lr, *loaders, step, schedule)

    if not config.freeze:
        return [stage("train", model, everything)]
    head = tuple(model.head.parameters())
    if config.augment == "none":
        features = [
            FeatureLoader(
                model.backbone, each, task.collate, device=device, on_batch=on_batch, say=say
            )
            for each in (train, val)
        ]
        first = stage("head", model.head, head, loaders=(features[0], features[1]))
    else:
        first = stage("head", model, head, frozen=(model.backbone,))
    if not config.fine_tune:
        return [first]
    gentle = config.lr * GENTLE
    return [first, stage("fine-tune", model, everything, lr=gentle, frozen=norms(model))]


def make_step(
    config: TrainConfig,
    module: nn.Module,
    task: Task,
    learning: Iterable[nn.Parameter],
    *,
    device: torch.device,
    frozen: Sequence[nn.Module] = (),
    say: Callable[[str], None] = lambda text: None,
) -> SupervisedStep:
    """The step that the settings describe, for the parameters `learning` of `module`."""
    groups = parameter_groups(
        module, learning, weight_decay=config.weight_decay, layer_decay=config.layer_decay
    )
    optimizer = make_optimizer(
        config.optimizer, groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov
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
