"""What is said while work goes on: lines that stay, and a moving bar on a terminal.

Everything goes to stderr; stdout is for data. Nobody who stops reading, and no full disk behind it,
ends the work.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Any, Protocol


class Progress(Protocol):
    """Somebody who listens."""

    def line(self, text: str) -> None:
        """A line that stays."""

    def step(self, phase: str, done: int, total: int) -> None:
        """`done` of `total` in `phase`; called as often as one likes."""

    def close(self) -> None:
        """Take a moving bar away."""


class Silent:
    """Says nothing."""

    def line(self, text: str) -> None:
        """Nothing."""

    def step(self, phase: str, done: int, total: int) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Lines:
    """Plain lines, for logs and pipes; a phase that takes long says so every few seconds."""

    def __init__(self, every_s: float = 5.0) -> None:
        self._every_s = every_s
        self._last = time.monotonic()

    def line(self, text: str) -> None:
        """Print it."""
        with contextlib.suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)
        self._last = time.monotonic()

    def step(self, phase: str, done: int, total: int) -> None:
        """A line when the last one is some seconds old."""
        if time.monotonic() - self._last > self._every_s:
            self.line(f"{phase}: {done} of {total}")

    def close(self) -> None:
        """Nothing to take away."""


class Bar:
    """A moving bar by rich, above it the lines that stay."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._console = Console(stderr=True, highlight=False)
        self._rich = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task: Any = None
        self._phase = ""

    def line(self, text: str) -> None:
        """Print it above the bar."""
        with contextlib.suppress(OSError, ValueError):
            self._console.print(text, markup=False, soft_wrap=True)

    def step(self, phase: str, done: int, total: int) -> None:
        """Move the bar; a new phase starts a new one."""
        if phase != self._phase:
            self.close()
            self._rich.start()
            self._task = self._rich.add_task(phase, total=total)
            self._phase = phase
        self._rich.update(self._task, completed=done, total=total)
        if done >= total:
            self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._phase:
            self._rich.stop()
            self._rich.remove_task(self._task)
            self._phase = ""


def choose_progress(*, quiet: bool = False) -> Progress:
    """The bar on a terminal, lines elsewhere (and under CI), nothing when quiet."""
    if quiet:
        return Silent()
    if sys.stderr.isatty() and not os.environ.get("CI"):
        return Bar()
    return Lines()
