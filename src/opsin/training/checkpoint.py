"""Checkpoints: one file each, written whole, its checksum in its name.

`epoch-0007.<sha256>.safetensors` holds tensors and, as metadata, a JSON state. Two are kept, so a
damaged newest one costs an epoch and no more. safetensors accepts most flipped bits, therefore the
checksum is ours.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from opsin.core.errors import ModelRefused, NoRoom
from opsin.core.files import no_room, sha256_bytes, write_bytes

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
        self, epoch: int, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
    ) -> None:
        """Write the checkpoint of `epoch`, then drop all but the newest two. Raises `NoRoom`."""
        self._write(f"epoch-{epoch:04d}", state, tensors)
        for path in self._all("epoch")[:-KEEP]:
            path.unlink(missing_ok=True)

    def newest(self, *, set_aside: bool = True) -> tuple[Saved | None, list[str]]:
        """The newest whole checkpoint, and a sentence for each damaged one; those are renamed,
        unless `set_aside` is off (a reader that does not hold the run).
        """
        notes: list[str] = []
        for path in reversed(self._all("epoch")):
            saved = self._read(path)
            if saved is not None:
                return saved, notes
            aside = path.with_name(f"{path.name}.damaged")
            stem = path.name.partition(".")[0]
            notes.append(f"checkpoint {stem} is damaged (SHA-256 differs); kept as {aside.name}")
            if not set_aside:
                continue
            try:
                path.rename(aside)
            except OSError as error:
                raise no_room(aside, error) from error
        if not notes:
            notes = [f"{path.name} was damaged" for path in self.folder.glob("epoch-*.damaged")]
        return None, notes

    def save_best(self, epoch: int, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write the weights of `epoch` as the best so far; `tidy_best` drops older ones."""
        written = self._write(f"best-{epoch:04d}", {"epoch": epoch}, tensors)
        for path in self._all("best"):
            # Left by a run that was killed before its checkpoint, and gave other bits then.
            if _epoch(path) == epoch and path != written:
                path.unlink(missing_ok=True)

    def tidy_best(self, keep: Collection[int]) -> None:
        """Drop every best but those of `keep`, the epochs that the kept checkpoints refer to."""
        for path in self._all("best"):
            if _epoch(path) not in keep:
                path.unlink(missing_ok=True)

    def best(self, epoch: int) -> Saved:
        """The weights of the best epoch. Raises `ModelRefused` when they are gone or damaged."""
        for path in self._all("best"):
            if _epoch(path) == epoch:
                saved = self._read(path)
                if saved is not None:
                    return saved
        raise ModelRefused(
            f"the weights of the best epoch ({epoch}) are missing or damaged",
            code="best_damaged",
            where=str(self.folder),
            fix="train again; the run's other files are whole",
        )

    def _all(self, kind: str) -> list[Path]:
        return sorted(self.folder.glob(f"{kind}-*.safetensors"), key=_epoch)

    def _write(
        self, stem: str, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
    ) -> Path:
        from safetensors.torch import save

        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise no_room(self.folder, error) from error
        for stale in self.folder.glob(".*.tmp"):  # left by a write that was killed
            with contextlib.suppress(OSError):
                stale.unlink()
        data = save(
            {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()},
            metadata={"state": json.dumps(state)},
        )
        path = self.folder / f"{stem}.{sha256_bytes(data)}.safetensors"
        try:
            write_bytes(path, data)
        except NoRoom as error:
            whole = self._all("epoch")
            kept = f"; kept: {whole[-1].name.partition('.')[0]}" if whole else ""
            raise NoRoom(
                error.message + kept, code=error.code, where=str(path), fix=error.fix
            ) from error
        return path

    def _read(self, path: Path) -> Saved | None:
        from safetensors.torch import load

        data = path.read_bytes()
        if sha256_bytes(data) != path.name.split(".")[1]:
            return None
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        return Saved(path, json.loads(header["__metadata__"]["state"]), load(data))


def _epoch(path: Path) -> int:
    """The epoch in a checkpoint's name; names sort as text, epochs as numbers."""
    return int(path.name.partition(".")[0].rpartition("-")[2])


def pack_optimizer(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """An optimizer's state as JSON and tensors named `optimizer.<parameter>.<name>`."""
    full = optimizer.state_dict()
    numbers: dict[str, dict[str, Any]] = {}
    tensors: dict[str, torch.Tensor] = {}
    for index, entries in full["state"].items():
        for name, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                numbers.setdefault(str(index), {})[name] = value
    return {"groups": full["param_groups"], "numbers": numbers}, tensors


def unpack_optimizer(
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
) -> None:
    """Put back what `pack_optimizer` took."""
    entries: dict[int, dict[str, Any]] = {
        int(index): dict(values) for index, values in state["numbers"].items()
    }
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            entries.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": entries, "param_groups": state["groups"]})
