"""What every peer is told, and what it answers. Run by the peers' own Pythons.

A job is a JSON file: `tree` (folders train, val, test of class folders), `network`, `size`,
`batch`, `epochs`, `lr`, `seed`, `workers`, `augment`, and for a frozen network `weights`. The
answer is one JSON line on stdout: seconds of each epoch (validation in it), right answers and
number of test pictures.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace


def read() -> SimpleNamespace:
    """The job named on the command line."""
    return SimpleNamespace(**json.loads(Path(sys.argv[1]).read_text("utf-8")))


def answer(epoch_s: list[float], correct: int, count: int) -> None:
    """Say what came of it."""
    print(json.dumps({"epoch_s": epoch_s, "correct": int(correct), "count": int(count)}))
