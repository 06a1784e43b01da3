"""The stages of a run: everything at once, or the head first and then all layers gently."""

from __future__ import annotations

from collections.abc import Callable

import torch

from opsin.core.config import TrainConfig
from opsin.data.loader import Loader
from opsin.features.extract import FeatureLoader
from opsin.models.classifier import Classifier
from opsin.tasks.task import Task
from opsin.training.schedules import make_schedule
from opsin.training.stage import Stage, norms

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
) -> list[Stage]:
    """One stage, or with `freeze` the head alone, or with `fine_tune` both after each other.

    A frozen backbone speaks once about each picture when nothing random comes before it; with
    augmentation it is asked in every step.
    """
    schedule = make_schedule(config.schedule, warmup=config.warmup_epochs / config.epochs)
    everything = tuple(model.parameters())
    head = tuple(model.head.parameters())
    if not config.freeze:
        return [
            Stage(
                "train", config.epochs, config.lr, model, train, val, everything, schedule=schedule
            )
        ]
    if config.augment == "none":
        first = Stage(
            "head",
            config.epochs,
            config.lr,
            model.head,
            FeatureLoader(model.backbone, train, task.collate, device=device, on_batch=on_batch),
            FeatureLoader(model.backbone, val, task.collate, device=device, on_batch=on_batch),
            head,
            schedule=schedule,
        )
    else:
        first = Stage(
            "head",
            config.epochs,
            config.lr,
            model,
            train,
            val,
            head,
            frozen=(model.backbone,),
            schedule=schedule,
        )
    if not config.fine_tune:
        return [first]
    gentle = Stage(
        "fine-tune",
        config.epochs,
        config.lr * GENTLE,
        model,
        train,
        val,
        everything,
        frozen=norms(model),
        schedule=schedule,
    )
    return [first, gentle]
