"""How the process of a command ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BEGIN = """
import atexit, sys, threading, time, types
class Torch(types.ModuleType):
    def __del__(self): sys.__stderr__.write("taken down\\n")
from opsin.cli.leave import leave
atexit.register(print, "registered")
print("said")
"""
TORCH = "sys.modules['torch'] = Torch('torch')\n"


def end(*lines: str, flags: tuple[str, ...] = ()) -> tuple[int, str, str]:
    code = BEGIN + "\n".join(lines) + "\nleave(3)"
    done = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_everything_is_said_and_torch_is_not_taken_down() -> None:
    assert end(TORCH) == (3, "said\nregistered\n", "")


def test_a_process_without_torch_ends_in_order() -> None:
    assert end("keep = Torch('other')") == (3, "said\nregistered\n", "taken down\n")


@pytest.mark.parametrize(
    "reason",
    [
        "threading.Thread(target=lambda: (time.sleep(.2), print('worked'))).start()",
        "sys.setprofile(lambda *_: None)",
        "sys.settrace(lambda *_: None)",
    ],
)
def test_who_still_needs_the_interpreter_has_it(reason: str) -> None:
    code, said, told = end(TORCH, reason)
    assert (code, told) == (3, "taken down\n")
    assert said.startswith("said\n")
    assert "registered" in said
    assert ("worked" in said) == ("worked" in reason)


def test_an_output_that_cannot_be_written_is_left_to_python() -> None:
    code, _, told = end(
        TORCH, "class Full:", " def flush(self): raise OSError", "sys.stdout = Full()"
    )
    assert code in (3, 120)  # 120: Python's own word for an output that it could not flush
    assert "taken down" in told


@pytest.mark.parametrize(
    "closed", [">&-", "2>&-", ">&- 2>&-", "2>/dev/full", "2>&1 >/dev/null | :"]
)
def test_nobody_who_listens_is_no_reason_to_stop(digits: Path, tmp_path: Path, closed: str) -> None:
    """A daemon is started so; and a log that is full, or a pager that is left, ends no training."""
    words = f"train {digits} --model lenet --image-size 16 --epochs 2 --no-report --no-bundle"
    code = (
        f"exec {sys.executable} -m opsin {words} --project {tmp_path} --name run {closed}"
        if "|" not in closed
        else f"set -o pipefail; {sys.executable} -m opsin {words} --project {tmp_path} --name run "
        f"{closed}"
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
    assert "Traceback" not in done.stderr + done.stdout
    assert done.returncode == 0
    assert (tmp_path / "run" / "metrics.json").is_file()
