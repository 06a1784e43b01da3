"""Children that train: forked from a process that has loaded everything, or the real command."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

OPSIN = str(Path(sys.executable).with_name("opsin"))
HANGS_S = 120.0
"""Nothing here takes this long, on however busy a machine."""


class Child:
    """A process in a group of its own. `status`: None while it lives, -9 when it was killed."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self.log = log
        self.status: int | None = None
        self.started = time.monotonic()

    def poll(self) -> int | None:
        """Its status by now."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def kill(self, *, group: bool = False) -> None:
        """SIGKILL, to all of its group or to the process alone."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Its status in the end; one that hangs is killed, and that is an error."""
        while self.poll() is None:
            if time.monotonic() - self.started > HANGS_S:
                self.kill(group=True)
                os.waitpid(self.pid, 0)
                raise TimeoutError(f"still running after {HANGS_S:g} s: {self.words()}")
            time.sleep(0.002)
        return self.status or 0

    def words(self) -> str:
        """The end of what it said."""
        return self.log.read_text("utf-8", "replace")[-2000:]


def forked(log: Path, work: Callable[[], Any]) -> Child:
    """`work` in a child of this process, which must have one thread."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        return Child(pid, log)
    status = 1
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for handle in (1, 2):
            os.dup2(out, handle)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def command(log: Path, arguments: list[str]) -> Child:
    """The real `opsin` with these arguments."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [OPSIN, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            process_group=0,
        )
    process.returncode = 0  # `Child` waits for it
    return Child(process.pid, log)


def own_cache(project: Path) -> Path:
    """From now on this process and its children keep pixels and features beside the runs of
    `project`, so that each trial fills its own.
    """
    folder = project / "cache"
    os.environ["OPSIN_CACHE_DIR"] = str(folder)
    return folder


def flags(settings: Mapping[str, Any]) -> list[str]:
    """Settings as the command takes them.

    >>> flags({"batch_size": 4, "bundle": False, "keep_best": ("val_f1", "val_loss")})
    ['--batch-size', '4', '--no-bundle', '--keep-best', 'val_f1,val_loss']
    """
    words = []
    for name, value in settings.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            words += [f"--{option}", text]
    return words


def load_everything(folder: Path, work: Callable[[], Any]) -> None:
    """Import what `work` imports, which a child tries, so that no later child has to."""
    names = folder / "modules.txt"

    def tried() -> None:
        work()
        names.write_text("\n".join(sys.modules))

    child = forked(folder / "loading.log", tried)
    if child.wait():
        raise SystemExit(f"a training without any kill failed:\n{child.words()}")
    for name in names.read_text().split("\n"):
        if name.partition(".")[0] not in ("__main__", "__mp_main__", "tests"):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
