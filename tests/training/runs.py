"""Runs of `opsin train` that tests interrupt: in this process, and as processes of their own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opsin.core.progress import Silent


class Lines(Silent):
    """Keeps what is said; `react` is called with each line and step."""

    def __init__(self, react: Callable[[str], None] = lambda text: None) -> None:
        self.said: list[str] = []
        self.react = react

    def line(self, text: str) -> None:
        self.said.append(text)
        self.react(text)

    def step(self, phase: str, done: int, total: int) -> None:
        self.react(f"{phase} {done}/{total}")


def settings(photos: Path, name: str, **more: Any) -> dict[str, Any]:
    shared: dict[str, Any] = {
        "image_size": 32, "epochs": 4, "lr": 0.01, "batch_size": 4, "report": False,
        "bundle": False, "progress": Silent(), "name": name, "project": photos.parent / "runs",
    }  # fmt: skip
    return shared | more


OPSIN = [sys.executable, "-m", "opsin"]


def start(*words: object, cwd: Path) -> subprocess.Popen[str]:
    """`opsin ...` in a process group of its own."""
    return subprocess.Popen(
        [*OPSIN, *map(str, words)], cwd=cwd, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip


def wait_for(found: Callable[[], object], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 90
    while not found():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.01)
