"""What is settled before a picture is opened, and the one look at every picture after it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any, cast

import torch

from opsin.api.own.parts import NOTHING, Own
from opsin.core.cache_dir import cache_dir
from opsin.core.config import TrainConfig
from opsin.core.device import hardware, memory, pick_device, versions
from opsin.core.errors import WrongUsage
from opsin.core.progress import Progress
from opsin.core.version import code_hash
from opsin.data.index import Index
from opsin.data.intake import Intake, pixel_store, read_index, refuse_bad, refuse_leaks, take_in
from opsin.data.pixels import PixelStore
from opsin.models.build import Design, Origin, build, design, find_origin
from opsin.models.classifier import Classifier
from opsin.training.determinism import not_deterministic
from opsin.training.graphs import can_record

PIXEL_MEMORY_FRAC = 0.4


@dataclass(frozen=True)
class Preparation:
    """Everything that is settled before a picture is opened."""

    config: TrainConfig
    index: Index
    origin: Origin
    design: Design
    device: torch.device
    own: Own = NOTHING

    def model(self, num_outputs: int) -> Classifier:
        """The module, with its first weights. Raises `WrongUsage`, `ModelRefused`."""
        if self.own.model is not None:
            # It has no backbone and no head, and with the settings allowed for it nobody asks.
            return cast(Classifier, self.own.model)
        return build(
            self.design,
            self.origin,
            num_outputs,
            seed=self.config.seed,
            dropout=self.config.dropout,
        )

    def resolved(self) -> TrainConfig:
        """The settings with everything filled in that was left to be chosen."""
        spec = self.design.spec
        square = spec.size_px[0] == spec.size_px[1]
        return self.config.model_copy(
            update={
                "image_size": spec.size_px[0] if square else self.config.image_size,
                "resize": spec.resize,
                "device": str(self.device),
                "threads": torch.get_num_threads(),
                "project": self.config.project.absolute(),
            }
        )

    def take_in(
        self, progress: Progress, processes: int = 1, *, write: bool = True
    ) -> tuple[Intake, PixelStore]:
        """Look at every file once; refuse the data when it is not good enough. Each of `processes`
        has the pictures, in its share of the memory where they are not in the cache folder; one of
        them should `write` there.
        """
        available = memory()[1] // processes
        store = pixel_store(
            self.index,
            self.design.spec,
            budget_bytes=int(available * PIXEL_MEMORY_FRAC) or 1 << 30,
            cache=cache_dir() if self.config.cache else None,
        )
        intake = take_in(
            self.index,
            store=store,
            write=write,
            on_file=lambda done, total: progress.step("reading pictures", done, total),
        )
        for note in store.notes:
            progress.line(note)
        refuse_bad(intake, self.config.max_bad_frac)
        if self.config.strict:
            refuse_leaks(intake)
        return intake, store

    def environment(self) -> dict[str, Any]:
        """`env.json`."""
        return environment(self.config, self.device)


def environment(config: TrainConfig, device: torch.device) -> dict[str, Any]:
    """What `env.json` says of machine, versions and seed."""
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "hardware": hardware(),
        "device": str(device),
        "seed": config.seed,
        "code_sha256": code_hash(),
        "not_deterministic": not_deterministic(device),
        "cpu": {"threads": torch.get_num_threads(), "memory_format": "contiguous"},
    }


def prepare(config: TrainConfig, own: Own = NOTHING) -> Preparation:
    """Check settings, model, weights and layout. Raises before anything is written."""
    if config.threads:
        torch.set_num_threads(config.threads)
    index = read_index(config.data, follow_links=config.follow_links)
    origin = find_origin(
        config.model,
        pretrained=config.pretrained,
        weights=config.weights,
        record=config.weights_record,
    )
    plan = design(
        config.model,
        origin,
        image_size=config.image_size,
        resize=config.resize,
        jpeg_gap=config.jpeg_gap,
    )
    device = pick_device(config.device)
    if config.graphs == "on" and not can_record(device):
        raise WrongUsage(
            f"CUDA graphs are of CUDA, and the device is {device.type}. Allowed: auto, off",
            where="graphs",
            fix="--graphs auto, which uses them where they are faster",
        )
    return Preparation(config, index, origin, plan, device, own)
