"""A run folder as one typed record; what is missing is empty, what is damaged is named."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from opsin.core.config_file import read_config
from opsin.core.errors import OpsinError, WrongUsage
from opsin.core.files import read_json
from opsin.core.finding import Finding
from opsin.core.report import Report
from opsin.data.splits import LeftOut, Split
from opsin.evaluation.predictions import PredictionTable
from opsin.training.history import History
from opsin.training.monitor import monitor_of

Part = TypeVar("Part")


@dataclass(frozen=True)
class PictureRow:
    """One line of `manifest.csv`. Sizes are 0 where the file could not be read; `split` is empty
    for a picture that was left out.
    """

    path: str
    size_bytes: int
    sha256: str
    width_px: int
    height_px: int
    format: str
    mode: str
    label: str
    split: str
    error: str


@dataclass(frozen=True)
class Run:
    """What a run folder says. `unread`: the files that are there and could not be understood."""

    folder: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    classes: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    pictures: tuple[PictureRow, ...]
    history: History
    predictions: PredictionTable | None
    metrics: Report | None
    findings: tuple[Finding, ...]
    unread: tuple[str, ...]


def read_run(folder: Path) -> Run:
    """Read every part that is there. Raises `WrongUsage` if `folder` is not a folder."""
    if not folder.is_dir():
        raise WrongUsage("no such run folder", code="missing_path", where=str(folder))
    unread: list[str] = []

    def part(name: str, read: Callable[[Path], Part], empty: Part) -> Part:
        path = folder / name
        if not path.exists():
            return empty
        try:
            return read(path)
        except (OSError, ValueError, KeyError, TypeError, csv.Error, OpsinError) as error:
            reason = str(error).splitlines() or [""]
            unread.append(f"{name} could not be read ({type(error).__name__}: {reason[0]})")
            return empty

    nothing: dict[str, Any] = {}
    no_pictures: tuple[PictureRow, ...] = ()
    config = part("config.yaml", read_config, nothing)
    environment = part("env.json", _read_object, nothing)
    monitor = monitor_of(str(config.get("monitor", "val_loss")), environment)
    pictures = part("manifest.csv", read_manifest, no_pictures)
    split = part("split.json", lambda path: Split.from_dict(read_json(path)), None)
    return Run(
        folder=folder,
        config=config,
        environment=environment,
        classes=split.classes if split else _names_in(pictures),
        left_out=split.left_out if split else (),
        pictures=pictures,
        history=part("history.csv", partial(History.read, monitor), History(monitor)),
        predictions=part("predictions.csv", PredictionTable.read, None),
        metrics=part("metrics.json", lambda path: Report.from_dict(read_json(path)), None),
        findings=part("findings.json", _read_findings, ()),
        unread=tuple(unread),
    )


def read_manifest(path: Path) -> tuple[PictureRow, ...]:
    """The rows of `manifest.csv`. Raises `KeyError`, `ValueError`, `OSError`."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        rows = (dict(zip(header, line, strict=True)) for line in reader)
        return tuple(
            PictureRow(
                path=row["path"],
                size_bytes=int(row["size_bytes"] or 0),
                sha256=row["sha256"],
                width_px=int(row["width_px"] or 0),
                height_px=int(row["height_px"] or 0),
                format=row["format"],
                mode=row["mode"],
                label=row["class"],
                split=row["split"],
                error=row["error"],
            )
            for row in rows
        )


def _read_object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _read_findings(path: Path) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            row["severity"],
            row["code"],
            row["message"],
            tuple(str(place) for place in row.get("where", ())),
            row.get("fix", ""),
        )
        for row in read_json(path)
    )


def _names_in(pictures: Sequence[PictureRow]) -> tuple[str, ...]:
    """Without a saved class list, the names in the manifest."""
    return tuple(sorted({row.label for row in pictures if row.label}))
