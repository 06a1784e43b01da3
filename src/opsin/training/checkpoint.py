"""Checkpoints: one file each, written whole, its checksum in its name.

`step-00000840.<sha256>.safetensors` holds tensors and, as metadata, a JSON state. Two are kept, so
a damaged newest one costs a few steps and no more. safetensors accepts most flipped bits, therefore
the checksum is ours.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from opsin.core.errors import ModelRefused
from opsin.core.files import no_room, sha256_bytes, sweep, write_bytes

KEEP = 2


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was read and found whole."""

    path: Path
    state: dict[str, Any]
    tensors: dict[str, torch.Tensor]


class CheckpointStore:
    """The `checkpoints` folder of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(
        self, step: int, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
    ) -> None:
        """Write the checkpoint after `step` steps in all, then drop all but the newest two.
        Raises `NoRoom`.
        """
        written = self._write(f"step-{step:08d}", state, tensors)
        # Twins are the same step twice: in its epoch, and with the validation after it.
        twins = [p for p in self._all("step") if _number(p) == step and p != written]
        older = [p for p in self._all("step") if _number(p) != step]
        for path in [*twins, *older[: 1 - KEEP]]:
            path.unlink(missing_ok=True)

    def newest(self, *, set_aside: bool = True) -> tuple[Saved | None, list[str]]:
        """The newest whole checkpoint, and a sentence for each damaged one; those are renamed,
        unless `set_aside` is off (a reader that does not hold the run).
        """
        notes: list[str] = []
        for path in reversed(self._all("step")):
            saved = self._read(path)
            if saved is not None:
                if notes:
                    notes[-1] += f"; using {_stem(path)}"
                return saved, notes
            aside = path.with_name(f"{path.name}.damaged")
            notes.append(
                f"checkpoint {_stem(path)} is damaged ({path.name}: SHA-256 differs); "
                f"kept as {aside.name}"
            )
            if not set_aside:
                continue
            try:
                path.rename(aside)
            except OSError as error:
                raise no_room(aside, error) from error
        if not notes:
            notes = [f"{path.name} was damaged" for path in self.folder.glob("step-*.damaged")]
        return None, notes

    def last(self) -> str:
        """The name of the newest checkpoint, unread; empty when there is none."""
        found = self._all("step")
        return _stem(found[-1]) if found else ""

    def save_best(self, monitor: str, epoch: int, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write the weights of `epoch` as the best so far; `tidy_best` drops older ones."""
        stem = f"best-{slug(monitor)}-{epoch:04d}"
        written = self._write(stem, {"epoch": epoch, "monitor": monitor}, tensors)
        for path in self.folder.glob(f"{stem}.*.safetensors"):
            # Left by a run that was killed before its checkpoint, and gave other bits then.
            if path != written:
                path.unlink(missing_ok=True)

    def tidy_best(self, monitor: str, keep: Collection[int]) -> None:
        """Drop every best but those of `keep`, the epochs that the kept checkpoints refer to."""
        for path in self._all(f"best-{slug(monitor)}"):
            if _number(path) not in keep:
                path.unlink(missing_ok=True)

    def best(self, monitor: str, epoch: int) -> Saved:
        """The weights of the best epoch. Raises `ModelRefused` when they are gone or damaged."""
        for path in self._all(f"best-{slug(monitor)}"):
            if _number(path) == epoch:
                saved = self._read(path)
                if saved is not None:
                    return saved
        raise ModelRefused(
            f"the weights of the best epoch ({epoch}, by {monitor}) are missing or damaged",
            code="best_damaged",
            where=str(self.folder),
            fix="train again; the run's other files are whole",
        )

    def _all(self, kind: str) -> list[Path]:
        name = re.compile(rf"{re.escape(kind)}-\d+")
        found = [p for p in self.folder.glob("*.safetensors") if name.fullmatch(_stem(p))]
        return sorted(found, key=lambda path: (_number(path), path.name))

    def _write(
        self, stem: str, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
    ) -> Path:
        from safetensors.torch import save

        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise no_room(self.folder, error) from error
        sweep(self.folder)
        data = save(
            {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()},
            metadata={"state": json.dumps(state)},
        )
        path = self.folder / f"{stem}.{sha256_bytes(data)}.safetensors"
        write_bytes(path, data)
        return path

    def _read(self, path: Path) -> Saved | None:
        from safetensors.torch import load

        try:
            data = path.read_bytes()
        except OSError as error:
            if error.errno == errno.EIO:  # the disk itself is damaged
                return None
            raise no_room(path, error) from error
        if sha256_bytes(data) != path.name.split(".")[1]:
            return None
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        return Saved(path, json.loads(header["__metadata__"]["state"]), load(data))


def slug(monitor: str) -> str:
    """A monitor's name as part of a file name; two that look alike keep apart.

    >>> slug("val_loss"), slug("val_recall:cat/dog")
    ('val_loss', 'val_recall_cat_dog-f1ad')
    """
    plain = re.sub(r"[^A-Za-z0-9_]", "_", monitor)[:80]
    digest = hashlib.blake2b(monitor.encode("utf-8", "surrogateescape"), digest_size=2)
    return plain if plain == monitor else f"{plain}-{digest.hexdigest()}"


def _stem(path: Path) -> str:
    return path.name.partition(".")[0]


def _number(path: Path) -> int:
    """The step or epoch in a name; names sort as text, these as numbers."""
    return int(_stem(path).rpartition("-")[2])
