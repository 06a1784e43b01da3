"""How the process of a command ends."""

from __future__ import annotations

import subprocess
import sys

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
