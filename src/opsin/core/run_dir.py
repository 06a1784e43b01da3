"""The run folder: the record of one training, never overwritten."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from opsin.core.config import TrainConfig
from opsin.core.errors import Locked, NoRoom, WrongUsage
from opsin.core.files import check_writable, no_room, pieces_of, read_json, sweep, write_pieces
from opsin.core.lock import FileLock


class RunDir:
    """Names and ways of a run folder. Files are written whole or not at all.

    >>> RunDir(Path("runs/demo")).history.name
    'history.csv'
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.split = path / "split.json"
        self.manifest = path / "manifest.csv"
        self.findings = path / "findings.json"
        self.environment = path / "env.json"
        self.history = path / "history.csv"
        self.predictions = path / "predictions.csv"
        self.metrics = path / "metrics.json"
        self.report = path / "report.html"
        self.checkpoints = path / "checkpoints"
        self.position = path / "checkpoints" / "position.txt"
        self.bundle = path / "bundle"
        self._lock = path / ".lock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run while it is written to; released by the system when the process dies,
        so a stale lock cannot be. Raises `Locked`.
        """
        lock = FileLock(self._lock)
        try:
            if not lock.acquire():
                raise Locked(
                    f"run {self.path.name} is in use by {lock.holder()}", where=str(self.path)
                )
        except OSError as error:
            raise no_room(self._lock, error) from error
        try:
            sweep(self.path)
            yield
        finally:
            lock.release()


def run_name(config: TrainConfig) -> str:
    """The name of a run's folder: as given, or after its data and model."""
    name = config.name or f"{config.data.name}-{config.model.replace(':', '-')}"
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name)
    return kept.strip(".-")[:80] or "run"


def create_run(project: Path, name: str) -> RunDir:
    """A new folder `project/name`, or `project/name-2`, ... Raises `NoRoom`."""
    project = project.absolute()
    check_writable(project)
    for number in range(1, 100_000):
        path = project / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise no_room(path, error) from error
        return RunDir(path)
    raise NoRoom("a hundred thousand runs have this name", where=str(project / name))


def point_latest(run: Path) -> None:
    """Let `latest` beside `run` point to it; where links are not allowed, a text file does."""
    project = run.parent
    link = project / "latest"
    temporary = project / f".latest-{os.getpid()}"
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
        try:
            temporary.symlink_to(run.name, target_is_directory=True)
        except (OSError, NotImplementedError):
            temporary.write_text(run.name)
        temporary.replace(link)


def follow_latest(path: Path) -> Path:
    """The run that `path` points to where `latest` is a text file; else `path` itself."""
    if path.name == "latest" and path.is_file():
        return path.with_name(Path(path.read_text().strip()).name)
    return path


def open_run(path: Path) -> RunDir:
    """The run folder at `path` (`.../latest` is followed). Raises `WrongUsage`."""
    path = follow_latest(path)
    if not (path / "config.yaml").is_file():
        what = "not a run folder (it has no config.yaml)" if path.exists() else "no such run"
        beside = sorted(p.parent.name for p in path.parent.glob("*/config.yaml"))[-3:]
        raise WrongUsage(
            what,
            code="no_such_run",
            where=str(path),
            fix=f"runs there: {', '.join(beside)}" if beside else "opsin train DATA makes one",
        )
    return RunDir(path.resolve())


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV file (UTF-8, LF), whole or not at all; returns its SHA-256."""
    return write_pieces(path, pieces_of(map(_line, chain([header], rows))))


def _line(row: Sequence[Any]) -> str:
    # Python 3.11 leaves a lone carriage return unquoted, and then reads it as the end of a line.
    returns = any("\r" in cell for cell in row if isinstance(cell, str))
    style: Any = {"quoting": csv.QUOTE_ALL} if returns else {}
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\n", **style).writerow(row)
    return line.getvalue()


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file that `write_rows` made."""
    return list(each_row(path))


def each_row(path: Path) -> Iterator[dict[str, str]]:
    """`read_rows` of a file that is too large to be held at once."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        yield from csv.DictReader(file)


def read_record(path: Path) -> Any:
    """The JSON of a run's file. Raises `WrongUsage` when it is missing or damaged."""
    try:
        return read_json(path)
    except FileNotFoundError:
        raise WrongUsage(
            "this file of the run is missing: the run did not get so far",
            code="run_incomplete",
            where=str(path),
            fix=f"opsin train --resume {path.parent}",
        ) from None
    except (ValueError, RecursionError, OSError) as error:
        raise WrongUsage(
            f"this file of the run cannot be read: {error}", code="run_damaged", where=str(path)
        ) from None
