"""Answers at 224 px: our bundle beside torch eager and torch.compile, in turn, same threads.

The pictures are prepared already; on every side the time is from uint8 B 3 H W to probabilities.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from bench import Bench, all_cores
from environments import versions_of
from processes import OPSIN, PYTHON, Failed, run
from table import Line, Row

OURS = Path(__file__).parents[1] / "our_inference.py"
SIDES = {"torch eager": ("eager", 2.0), "torch.compile": ("compile", None)}


def measure(bench: Bench, row: Row) -> None:
    """Latency of one picture, and pictures a second in batches of 32, beside each."""
    bundle = _bundle(bench)
    count = "5" if bench.quick else "60"
    found: dict[str, list[dict[str, float]]] = {"opsin": [], **{name: [] for name in SIDES}}
    failed: dict[str, str] = {}
    for _ in range(bench.rounds):
        ran = run([*PYTHON, str(OURS), str(bundle), count], folder=bench.work)
        found["opsin"].append(json.loads(ran.output))
        for name, (way, _) in SIDES.items():
            if name in failed:
                continue
            try:
                command = [*bench.peer("lightning", "inference.py"), way, str(bench.weights), count]
                found[name].append(json.loads(run(command, folder=bench.work).output))
            except Failed as failure:
                failed[name] = str(failure)
    for name, (_, target) in SIDES.items():
        if name in failed:
            row.lines.append(Line("one picture; batches of 32", beside=name, failed=failed[name]))
            continue
        ours, theirs = (_median(found[who], "one_ms") for who in ("opsin", name))
        row.lines.append(
            Line("one picture", f"{ours:.2f} ms", name, f"{theirs:.2f} ms", theirs / ours, target)
        )
        ours, theirs = (_median(found[who], "batch_per_s") for who in ("opsin", name))
        row.lines.append(
            Line("batches of 32", f"{ours:.0f} /s", name, f"{theirs:.0f} /s", ours / theirs, target)
        )
    row.notes.append(f"theirs: {versions_of('lightning')}.")
    row.notes += [
        f"mobilenetv2_100 with three classes, float32, each side's own threads on {all_cores()} "
        "cores.",
        "ours: a bundle's `Predictor` (onnxruntime, preparation inside the graph); theirs: the "
        "same network in evaluation mode under `torch.inference_mode`, with its normalisation.",
    ]


def _median(rounds: list[dict[str, float]], name: str) -> float:
    return statistics.median(one[name] for one in rounds)


def _bundle(bench: Bench) -> Path:
    """One epoch of the head: what matters here is the graph."""
    command = [*OPSIN, "train", str(bench.data("pizza_steak_sushi")), "--epochs", "1"]
    command += ["--model", "timm:mobilenetv2_100", "--weights", str(bench.weights), "--freeze"]
    command += ["--no-report", "--project", str(bench.work), "--name", "frozen"]
    run(command, environment=bench.cache("inference"), folder=bench.work)
    return bench.work / "frozen" / "bundle"
