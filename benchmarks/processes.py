"""Whole processes, timed: wall time and peak memory as the system counts them.

Imports the standard library alone, since a child's peak memory starts at its parent's.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PYTHON = [sys.executable]
OPSIN = [str(Path(sys.executable).with_name("opsin"))]


class Failed(Exception):
    """A process that did not end with 0; says with what, and the end of what it wrote."""


@dataclass(frozen=True)
class Ran:
    """One process: wall seconds, peak MB (the largest of it and its children), its stdout."""

    wall_s: float
    peak_mb: float
    output: str


@dataclass
class Measured:
    """What the runs of one command took."""

    wall_s: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Median wall time."""
        return statistics.median(self.wall_s)

    @property
    def megabytes(self) -> float:
        """Median peak memory."""
        return statistics.median(self.peak_mb)


def run(
    command: list[str], *, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Ran:
    """Run it to its end, in `folder`, with `environment` added. Raises `Failed`."""
    # Files, not pipes: a full pipe would stop the process, and reading it would cost time.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=error,
            cwd=folder,
            env={**os.environ, **(environment or {})},
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        error.seek(0)
        output = out.read().decode("utf-8", "replace")
        if process.returncode:
            said = error.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            raise Failed(f"exit {process.returncode}: {' '.join(said) or command[0]}")
    # Linux counts in KiB, macOS in bytes.
    peak_mb = usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)
    return Ran(wall_s, peak_mb, output)


def timed(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak MB of one run, its children counted; it must exit with 0."""
    try:
        ran = run(command)
    except Failed as failure:
        raise SystemExit(f"{failure}: {' '.join(command)}") from None
    return ran.wall_s, ran.peak_mb


def interleaved(commands: dict[str, list[str]], rounds: int) -> dict[str, Measured]:
    """Each command `rounds` times, in turn, after one run of each that does not count."""
    results = {name: Measured() for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            wall_s, peak_mb = timed(command)
            if number:
                results[name].wall_s.append(wall_s)
                results[name].peak_mb.append(peak_mb)
    return results


def make(program: str, *arguments: str | Path) -> None:
    """Run some Python in a process of its own: what it imports must not weigh on this one."""
    subprocess.run([*PYTHON, "-c", program, *map(str, arguments)], check=True)


def make_bundle(folder: Path) -> None:
    """The small bundle of the tests."""
    make(
        "import sys; from pathlib import Path; from opsin.testing.bundles import tiny_bundle; "
        "tiny_bundle(Path(sys.argv[1]))",
        folder,
    )


def make_photo(path: Path, width: int, height: int) -> None:
    """A JPEG with the size of a photo: smooth colours, some noise."""
    make(
        "import sys; from PIL import Image, ImageChops; w, h = map(int, sys.argv[2:]); "
        "smooth = Image.radial_gradient('L').resize((w, h)); "
        "bands = [ImageChops.add(smooth, Image.effect_noise((w, h), s), 2) for s in (20, 30, 40)]; "
        "Image.merge('RGB', bands).save(sys.argv[1], quality=90)",
        path,
        str(width),
        str(height),
    )
