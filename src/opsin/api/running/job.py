"""`Job`: what the steps of one training share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from opsin.api.own.parts import NOTHING, Own
from opsin.api.running.preparation import Preparation
from opsin.core.allocator import trim
from opsin.core.config import TrainConfig
from opsin.core.files import sha256_file, write_json
from opsin.core.progress import Progress
from opsin.core.run_dir import RunDir
from opsin.data.balance import Balance, choose_balance
from opsin.data.intake import Intake
from opsin.data.loader import Loader
from opsin.data.manifest import write_manifest
from opsin.data.on_device import OnDevice, place
from opsin.data.pixels import PixelStore
from opsin.data.split_loaders import split_loader
from opsin.data.splits import Split
from opsin.models.classifier import Classifier
from opsin.tasks.classification import Classification
from opsin.training.processes import ALONE, Processes


@dataclass(frozen=True)
class Job:
    """One run with its data, its model and somebody who listens."""

    run: RunDir
    config: TrainConfig
    plan: Preparation
    intake: Intake
    store: PixelStore
    split: Split
    task: Classification
    balance: Balance
    model: Classifier
    progress: Progress
    processes: Processes = ALONE
    epoch_s: float | None = None
    """Seconds of an epoch by the forecast, its validation of `validation_s` included."""
    validation_s: float = 0.0
    on_device: Mapping[str, OnDevice] = field(default_factory=dict)
    """Splits whose pictures lie on the device."""

    @property
    def data_identity(self) -> dict[str, Any]:
        """What of the data a resumed run must have in common with its beginning."""
        return {"split": sha256_file(self.run.split)}

    @cached_property
    def plain(self) -> dict[str, Loader]:
        """For each split that has pictures a loader without augmentation, in a fixed order."""
        return {name: self._loader(name) for name, ids in self.split.splits.items() if ids}

    @cached_property
    def learning(self) -> Loader:
        """The loader that the loop learns from."""
        config = self.config
        return self._loader(
            "train",
            augment=config.augment,
            shuffle=True,
            balanced=self.balance.sampling,
            workers=config.workers,
        )

    def _loader(
        self,
        name: str,
        *,
        augment: str = "none",
        shuffle: bool = False,
        balanced: bool = False,
        workers: int = 0,
    ) -> Loader:
        there = self.on_device.get(name) if augment == "none" else None
        return split_loader(
            self.intake,
            there or self.store,
            self.split,
            name,
            self.task.collate,
            seed=self.config.seed,
            batch_size=self.config.batch_size,
            augment=augment,
            shuffle=shuffle,
            balanced=balanced,
            # Nothing is left to be done by them where pictures are only picked.
            workers=0 if there else workers,
            device=self.plan.device,
            say=self.progress.line,
        )

    def write_data_records(self) -> None:
        """`manifest.csv`, `findings.json`, and last `split.json`: it says that all are there."""
        run, intake = self.run, self.intake
        write_manifest(run.manifest, intake.index, intake.records, self.split)
        write_json(run.findings, [finding.to_dict() for finding in intake.findings])
        write_json(run.split, self.split.to_dict())
        trim()  # the names of all files were strings for a moment


def place_pictures(job: Job) -> Job:
    """`job` with the pictures that every epoch asks for, as they are, on the card that learns from
    them, as far as they fit there. They are moved when the first of them is wanted.
    """
    config, device = job.config, job.plan.device
    asked_once = config.freeze and (config.unfreeze is not None or not config.fine_tune)
    free, say = _free_bytes(device), job.progress.line
    if asked_once or not free:
        return job
    names = ["val"] if config.augment != "none" else ["train", "val"]
    rows = {name: job.intake.rows_of(job.split.splits[name]) for name in names}
    return replace(job, on_device=place(job.store, rows, device, free_bytes=free, say=say))


def _free_bytes(device: torch.device) -> int:
    """Of a card's own memory."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0


def make_task(
    config: TrainConfig, intake: Intake, split: Split, own: Own = NOTHING
) -> tuple[Classification, Balance]:
    """What the outputs mean and how the loss counts them, and what evens out the classes.

    Raises `WrongUsage` for a metric that does not exist.
    """
    targets = intake.index.rows.targets[intake.rows_of(split.splits["train"])].tolist()
    # A loss of one's own may be a mean already, which no weight can enter any more.
    by_itself = own.loss is not None and config.balance == "auto"
    setting = "none" if by_itself else config.balance
    balance = choose_balance(targets, split.classes, setting)
    task = Classification(
        split.classes,
        loss=config.loss if own.loss is None else own.loss,
        label_smoothing=config.label_smoothing,
        class_weights=balance.weights,
        metrics=own.metrics,
    )
    return task, balance
