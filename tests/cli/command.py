"""Run `opsin` as a person does, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def opsin(*words: str | Path, cwd: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """What it printed, and its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "opsin", *map(str, words)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        check=False,
    )
    out = done.stdout.decode("utf-8", "backslashreplace")
    return subprocess.CompletedProcess(
        done.args, done.returncode, out, done.stderr.decode("utf-8", "backslashreplace")
    )
