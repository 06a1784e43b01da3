"""What a run folder holds: whether it can be read after a kill, and whether it ends the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from opsin.core.config_checks import make_config
from opsin.core.config_file import read_config
from opsin.core.files import sha256_bytes
from opsin.core.run_dir import RunDir, read_rows
from opsin.training.checkpoint import CheckpointStore, Saved

Ending = dict[str, str]
"""Name of everything that must be the same in the end, to its digest."""


def run_in(project: Path) -> Path | None:
    """The newest run that has begun; None when there is none that could be resumed."""
    begun = sorted(project.glob("run*/config.yaml"), key=lambda path: path.stat().st_mtime_ns)
    return begun[-1].parent if begun else None


def unreadable(run: Path) -> list[str]:
    """What a reader would stumble over: each file is there whole or not at all."""
    found = []
    names = RunDir(run)
    readers = {
        names.config: lambda path: make_config(read_config(path)),
        names.environment: lambda path: json.loads(path.read_bytes()),
        names.findings: lambda path: json.loads(path.read_bytes()),
        names.split: lambda path: json.loads(path.read_bytes()),
        names.metrics: lambda path: json.loads(path.read_bytes()),
        names.manifest: _rows,
        names.history: _rows,
        names.predictions: _rows,
    }
    for path, read in readers.items():
        try:
            if path.exists():
                read(path)
        except Exception as error:
            found.append(f"{path.name}: {type(error).__name__}: {error}")
    return found + unreadable_checkpoints(names.checkpoints)


def unreadable_checkpoints(folder: Path) -> list[str]:
    """The checkpoints and best weights whose bytes are not those of their names."""
    found = [path.name for path in folder.glob("*.damaged")]
    for path in folder.glob("*.safetensors"):
        if not path.name.startswith(".") and sha256_bytes(path.read_bytes()) not in path.name:
            found.append(path.name)
    return found


def reached(folder: Path) -> int:
    """The step of the newest whole checkpoint, -1 when there is none."""
    saved, _ = CheckpointStore(folder).newest(set_aside=False)
    return int(saved.state["position"]["total"]) if saved else -1


def checkpoints_ending(folder: Path) -> Ending:
    """The last checkpoint, and the best weights by each monitor."""
    store = CheckpointStore(folder)
    saved, notes = store.newest(set_aside=False)
    if saved is None or notes:
        raise ValueError(f"no whole newest checkpoint: {notes}")
    found = _digests("last", saved)
    for key, value in _timeless(saved.state).items():
        if key not in ("threads", "settings"):
            found[f"last/{key}"] = _digest(json.dumps(value).encode())
    # Bests only get better, so a monitor's last one is its best.
    for path in sorted(folder.glob("best-*.safetensors")):
        best = store._read(path)
        if best is None:
            raise ValueError(f"{path.name} is damaged")
        monitor = path.name.partition(".")[0].rpartition("-")[0]
        found = {k: v for k, v in found.items() if not k.startswith(f"{monitor}/")}
        found |= _digests(monitor, best) | {f"{monitor}/epoch": str(best.state["epoch"])}
    return found


def ending(run: Path) -> Ending:
    """All that a finished run says, but for how long it took."""
    names = RunDir(run)
    found = checkpoints_ending(names.checkpoints)
    for path in (names.predictions, names.metrics, names.split):
        found[path.name] = _digest(path.read_bytes())
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in read_rows(names.history)]
    return found | {names.history.name: _digest(json.dumps(rows).encode())}


def differences(expected: Ending, found: Ending) -> list[str]:
    """The names of what is not the same."""
    return [
        name
        for name in sorted({*expected, *found})
        if expected.get(name, "absent") != found.get(name, "absent")
    ]


def _rows(path: Path) -> None:
    text = path.read_text("utf-8", "surrogateescape")
    if not text.endswith("\n"):
        raise ValueError("its last line has no end")
    if any(None in row or None in row.values() for row in read_rows(path)):  # type: ignore[comparison-overlap]
        raise ValueError("a row is not as long as the header")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _digests(name: str, saved: Saved) -> Ending:
    return {
        f"{name}/{key}": _digest(
            f"{value.dtype} {tuple(value.shape)}".encode()
            + value.reshape(-1).view(torch.uint8).numpy().tobytes()
        )
        for key, value in saved.tensors.items()
    }


def _timeless(value: Any) -> Any:
    """Without what a clock said."""
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k != "seconds"}
    return [_timeless(each) for each in value] if isinstance(value, list) else value
