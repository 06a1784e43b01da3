"""The lock of `core/lock.py`: freed with its process, whatever children that left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from opsin.core.lock import FileLock

_HOLD = """
import os, sys, time
from pathlib import Path
from opsin.core.lock import FileLock
lock = FileLock(Path(sys.argv[1]))
assert lock.acquire()
if sys.argv[2] == "forks":
    child = os.fork()
    if not child:
        lock.release()  # which is not the child's to give back
        print(os.getpid(), flush=True)  # by now it has dropped its copy
        time.sleep(60)
        os._exit(0)
else:
    print("held", flush=True)
time.sleep(60)
"""


def hold(path: Path, how: str) -> tuple[subprocess.Popen[str], str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path), how], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    return holder, holder.stdout.readline().strip()


def end(holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    assert holder.stdout is not None
    holder.stdout.close()


def test_one_holder_at_a_time_also_in_one_process(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire()
    assert not second.acquire()
    assert second.holder().startswith(f"process {os.getpid()} on host {socket.gethostname()} since")
    (tmp_path / "lock").read_bytes()  # another handle of the file, opened and closed
    assert not second.acquire()
    first.release()
    first.release()
    assert (tmp_path / "lock").read_bytes() == b"", "nobody is named who is gone"
    assert second.acquire()
    second.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_child_does_not_keep_a_dead_holders_lock(tmp_path: Path) -> None:
    """Loader workers outlive a killed run for a while."""
    path = tmp_path / "lock"
    holder, child = hold(path, "forks")
    try:
        lock = FileLock(path)
        assert not lock.acquire(), "the child has not freed it"
        assert lock.holder().startswith(f"process {holder.pid} ")
        end(holder)
        os.kill(int(child), 0)
        assert lock.acquire(), "free at once"
        lock.release()
    finally:
        os.kill(int(child), signal.SIGKILL)


def test_nobody_dead_is_named(tmp_path: Path) -> None:
    """A killed holder leaves its name behind; the next one is told apart from it."""
    path = tmp_path / "lock"
    holder, _ = hold(path, "stays")
    left = path.read_text()
    end(holder)
    next_, _ = hold(path, "stays")
    try:
        assert FileLock(path).holder().startswith(f"process {next_.pid} ")
        path.write_text(left)  # as if it had not written its name yet
        assert FileLock(path).holder() == "another process"
    finally:
        end(next_)


def test_a_lock_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "no" / "lock").acquire()
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "lock").acquire(create=False)
    start = time.monotonic()
    assert FileLock(tmp_path / "lock").holder() == "another process"
    assert time.monotonic() - start < 30
