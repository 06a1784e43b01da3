"""Memory of a process and all its children while it runs, looked at ten times a second (Linux).

`ru_maxrss` alone would not do: it counts the pages of a mapped file, which the system may take
back at any time, and only the largest process.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from processes import Failed


@dataclass(frozen=True)
class Peaks:
    """MB at the peak, the whole family together: `own` is what only it can hold (anonymous);
    `mapped` counts pages of files too. `wall_s`: how long it ran.
    """

    own: float
    mapped: float
    wall_s: float


def watched(command: list[str], environment: Mapping[str, str], folder: Path) -> Peaks:
    """Run it to its end and look at it meanwhile. Raises `Failed`."""
    log = folder / "watched.log"
    started = time.perf_counter()
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, cwd=folder, env={**os.environ, **environment}
        )
        own = mapped = 0.0
        while process.poll() is None:
            found = [_memory(pid) for pid in _family(process.pid)]
            own = max(own, sum(one for one, _ in found))
            mapped = max(mapped, sum(one for _, one in found))
            time.sleep(0.1)
    if process.returncode:
        last = log.read_text("utf-8", "replace").strip().splitlines()[-1:]
        raise Failed(f"exit {process.returncode}: {' '.join(last)}")
    return Peaks(own, mapped, time.perf_counter() - started)


def _family(pid: int) -> list[int]:
    members = [pid]
    for member in members:
        try:
            threads = list(Path(f"/proc/{member}/task").iterdir())
            for thread in threads:
                members += map(int, (thread / "children").read_text("ascii").split())
        except OSError:  # it has ended meanwhile
            continue
    return members


def _memory(pid: int) -> tuple[float, float]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    except OSError:
        return 0.0, 0.0
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
    return kib.get("RssAnon", 0) * 1024 / 1e6, kib.get("VmRSS", 0) * 1024 / 1e6
