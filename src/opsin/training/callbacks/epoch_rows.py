"""A CSV file that grows with each epoch, the same however often the run was killed."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opsin.training.callbacks.patient import Patient, Say, silent


class EpochRows:
    """Rows wait in `state`, which belongs into the checkpoints, until `write` adds them at the end
    of an epoch. The length that the file then has is in `state` too: what stands behind it was
    written by a process that died before its checkpoint, and is cut off.

    Training never stops for it: rows that cannot be written wait on. A file that has become
    shorter is copied aside as `.damaged`, its whole rows are kept, and `say` is told.
    """

    def __init__(
        self, path: Path, header: Sequence[str], say: Say = silent, *, wait_s: float = 5.0
    ) -> None:
        self.path = path
        self._header = list(header)
        self._say = say
        self._patient = Patient(path, say, wait_s=wait_s)
        self._bytes = 0
        self._rows: list[list[Any]] = []

    def add(self, *row: int | float | str) -> None:
        """One more row; floats get nine digits, which float32 needs."""
        self._rows.append([f"{cell:.9g}" if isinstance(cell, float) else cell for cell in row])

    def write(self) -> None:
        """Add the waiting rows to the file, if it can be written."""
        if self._rows and self._patient.write(self._append):
            self._rows = []

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {"bytes": self._bytes, "rows": list(self._rows)}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        self._bytes, self._rows = state["bytes"], list(state["rows"])

    def _append(self) -> None:
        self.path.touch()
        with self.path.open("r+b") as file:
            if file.seek(0, os.SEEK_END) < self._bytes:
                self._mend()
            file.seek(self._bytes)
            file.truncate()
            file.write(_csv(self._rows if self._bytes else [self._header, *self._rows]))
            file.flush()
            os.fsync(file.fileno())
            length = file.tell()
        self._bytes = length

    def _mend(self) -> None:
        """Go on behind the last whole row of a file that was cut."""
        left = self.path.read_bytes()
        if left:
            with contextlib.suppress(OSError):
                self.path.with_name(f"{self.path.name}.damaged").write_bytes(left)
        self._bytes = left.rfind(b"\n") + 1 if left.startswith(_csv([self._header])) else 0
        kept = left[: self._bytes].count(b"\n")
        self._say(f"{self.path.name} was cut or taken away: rows are missing after line {kept}")


def _csv(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")
