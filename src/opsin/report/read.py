"""A run folder as one typed record; what is missing is empty, what is damaged is named."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from opsin.core.errors import WrongUsage
from opsin.core.files import read_json
from opsin.core.finding import Finding
from opsin.core.report import Report

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
class EpochRow:
    """One line of `history.csv`; None where a number is absent or not finite."""

    epoch: int
    stage: str
    lr: float | None
    train_loss: float | None
    train_accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    seconds: float | None


@dataclass(frozen=True)
class PredictionRow:
    """One line of `predictions.csv`, of whose probabilities the two that matter are kept:
    `probability` of the predicted class and `true_probability` of the true one.
    """

    split: str
    path: str
    true: str
    predicted: str
    loss: float | None
    probability: float | None
    true_probability: float | None


@dataclass(frozen=True)
class Run:
    """What a run folder says. `unread`: the files that are there and could not be understood."""

    folder: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    classes: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    pictures: tuple[PictureRow, ...]
    history: tuple[EpochRow, ...]
    predictions: tuple[PredictionRow, ...]
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
        except (OSError, ValueError, KeyError, TypeError, csv.Error, yaml.YAMLError) as error:
            reason = str(error).splitlines() or [""]
            unread.append(f"{name} could not be read ({type(error).__name__}: {reason[0]})")
            return empty

    nothing: dict[str, Any] = {}
    no_pictures: tuple[PictureRow, ...] = ()
    pictures = part("manifest.csv", read_manifest, no_pictures)
    split = part("split.json", _read_split, _Split(_names_in(pictures), ()))
    return Run(
        folder=folder,
        config=part("config.yaml", _read_config, nothing),
        environment=part("env.json", _read_object, nothing),
        classes=split.classes,
        left_out=split.left_out,
        pictures=pictures,
        history=part("history.csv", read_history, ()),
        predictions=part("predictions.csv", read_predictions, ()),
        metrics=part("metrics.json", lambda path: Report.from_dict(read_json(path)), None),
        findings=part("findings.json", _read_findings, ()),
        unread=tuple(unread),
    )


def read_manifest(path: Path) -> tuple[PictureRow, ...]:
    """The rows of `manifest.csv`. Raises `KeyError`, `ValueError`, `OSError`."""
    with _table(path) as rows:
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


def read_history(path: Path) -> tuple[EpochRow, ...]:
    """The rows of `history.csv`. Raises `KeyError`, `ValueError`, `OSError`."""
    with _table(path) as rows:
        return tuple(
            EpochRow(
                epoch=int(row["epoch"]),
                stage=row.get("stage", ""),
                lr=_number(row.get("lr", "")),
                train_loss=_number(row.get("train_loss", "")),
                train_accuracy=_number(row.get("train_accuracy", "")),
                val_loss=_number(row.get("val_loss", "")),
                val_accuracy=_number(row.get("val_accuracy", "")),
                seconds=_number(row.get("seconds", "")),
            )
            for row in rows
        )


def read_predictions(path: Path) -> tuple[PredictionRow, ...]:
    """The rows of `predictions.csv`. Raises `KeyError`, `ValueError`, `OSError`."""
    with _table(path) as rows:
        return tuple(
            PredictionRow(
                split=row["split"],
                path=row["path"],
                true=row["true"],
                predicted=row["predicted"],
                loss=_number(row["loss"]),
                probability=_number(row.get("p:" + row["predicted"], "")),
                true_probability=_number(row.get("p:" + row["true"], "")),
            )
            for row in rows
        )


def main_split(splits: Iterable[str]) -> str | None:
    """The split whose numbers count: the test set; without one, the validation set.

    >>> main_split(["val", "test"]), main_split(["val"]), main_split([])
    ('test', 'val', None)
    """
    known = list(splits)
    for name in ("test", "val"):
        if name in known:
            return name
    return known[-1] if known else None


@contextmanager
def _table(path: Path) -> Iterator[Iterator[dict[str, str]]]:
    """The lines of a CSV file by the names in its first; a line of another length is refused."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        yield (dict(zip(header, row, strict=True)) for row in reader if row)


def _number(text: str) -> float | None:
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else None


def _read_object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _read_config(path: Path) -> dict[str, Any]:
    value = yaml.safe_load(path.read_text("utf-8", "surrogateescape"))
    if not isinstance(value, dict):
        raise ValueError("not a mapping")
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


@dataclass(frozen=True)
class _Split:
    classes: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]


def _read_split(path: Path) -> _Split:
    value = _read_object(path)
    return _Split(
        tuple(str(name) for name in value["classes"]),
        tuple((str(row["path"]), str(row["reason"])) for row in value.get("left_out", ())),
    )


def _names_in(pictures: Sequence[PictureRow]) -> tuple[str, ...]:
    """Without a saved class list, the names in the manifest."""
    return tuple(sorted({row.label for row in pictures if row.label}))
