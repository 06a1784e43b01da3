"""Seconds of an epoch against pictures, pixels and classes: linear, as a plot with its fit."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
from pathlib import Path

from bench import Bench
from processes import OPSIN, PYTHON, run
from synthetic import write
from table import Line, Row

PICTURES = (500, 1000, 2000, 4000, 8000)
SIDES_PX = (32, 64, 96, 128, 192, 256)
CLASSES = (2, 10, 50, 100, 250)
PLOT = Path(__file__).parents[1] / "plot_growth.py"


def measure(bench: Bench, row: Row) -> None:
    """Three series, each fitted; the plot goes to `docs/growth.svg`."""
    few = slice(0, 3) if bench.quick else slice(None)
    series = {
        "pictures": [(n, _epoch_s(bench, n, 10, 64)) for n in PICTURES[few]],
        "pixels of a picture": [(s * s, _epoch_s(bench, 500, 10, s)) for s in SIDES_PX[few]],
        "classes": [(k, _epoch_s(bench, 2000, k, 32)) for k in CLASSES[few]],
    }
    points = bench.work / "points.json"
    points.write_text(json.dumps(series), "utf-8")
    plot = bench.work / "growth.svg" if bench.quick else bench.docs / "growth.svg"
    fits = json.loads(run([*PYTHON, str(PLOT), str(points), str(plot)]).output)
    for name, fit in fits.items():
        (low, low_s), (high, high_s) = series[name][0], series[name][-1]
        row.lines.append(
            Line(
                f"{name}, {low:,} to {high:,}",
                f"{low_s:.3f} to {high_s:.3f} s",
                "a straight line",
                f"R² {fit['r2']:.4f}",
                accuracy=f"{fit['per_unit_s']:.3g} s for each, {fit['fixed_s']:.3g} s fixed",
            )
        )
    row.notes += [
        "tinyvgg, batch 32, median epoch from the third on of 6, validation in it, decoded "
        "pictures in the store; synthetic JPEGs. Pictures: 10 classes, 64 px; pixels: 500 "
        "pictures; classes: 2,000 pictures of 32 px, one line through all points each.",
        "![seconds of an epoch against pictures, pixels and classes](growth.svg)",
    ]


def _epoch_s(bench: Bench, pictures: int, classes: int, side: int) -> float:
    name = f"{pictures}-{classes}-{side}"
    data = write(bench.work / f"set-{name}", pictures, classes, side)
    found = []
    for number in range(bench.rounds):
        run_name = f"run-{name}-{number}"
        command = [*OPSIN, "train", str(data), "--model", "tinyvgg", "--image-size", str(side)]
        command += ["--epochs", "6", "--no-report", "--no-bundle"]
        command += ["--project", str(bench.work), "--name", run_name]
        run(command, environment=bench.cache("growth"), folder=bench.work)
        with (bench.work / run_name / "history.csv").open(encoding="utf-8", newline="") as file:
            found += [float(line["seconds"]) for line in csv.DictReader(file)][2:]
    shutil.rmtree(data)
    return statistics.median(found)
