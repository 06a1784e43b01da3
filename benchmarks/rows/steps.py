"""One training step of a batch of 32: our settings beside torch's defaults, each in its process."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from bench import Bench
from environments import versions_of
from processes import PYTHON, Failed, run
from table import Line, Row

CASES = {
    "tinyvgg": (64, 1.5),
    "cnn3": (256, 3.0),
    "resnet18": (96, 1.1),
    "mobilenetv2_100": (96, 1.4),
}
OURS = Path(__file__).parents[1] / "our_step.py"
BESIDE = "plain PyTorch defaults"


def measure(bench: Bench, row: Row) -> None:
    """A line for each network."""
    for network, (size, target) in CASES.items():
        count = "5" if bench.quick else "30"
        figure = f"{network}, 32 x {size} px"
        try:
            theirs = [*bench.peer("lightning", "step.py"), network, str(size), count]
            ours = [*PYTHON, str(OURS), network, str(size), count]
            mine: list[float] = []
            others: list[float] = []
            chosen: list[str] = []
            for _ in range(bench.rounds):
                said = json.loads(run(ours, folder=bench.work).output)
                mine.append(said["ms"])
                chosen.append(said["chosen"])
                others.append(json.loads(run(theirs, folder=bench.work).output)["ms"])
        except Failed as failure:
            row.lines.append(Line(figure, beside=BESIDE, failed=str(failure)))
            continue
        our_ms, their_ms = statistics.median(mine), statistics.median(others)
        row.lines.append(
            Line(
                figure, f"{our_ms:.1f} ms", BESIDE, f"{their_ms:.1f} ms", their_ms / our_ms, target
            )
        )
        row.notes.append(f"{network}: chosen {', '.join(sorted(set(chosen)))}.")
    row.notes.append(f"theirs: {versions_of('lightning')}.")
    row.notes.append(
        "forward, cross-entropy, backward, Adam, float32 on both sides. Ours is the product's own "
        "step, its checks in it, with the layout that is faster in a short trial, as `opsin train` "
        "tries it, and freed memory held; theirs is contiguous, with nothing set."
    )
