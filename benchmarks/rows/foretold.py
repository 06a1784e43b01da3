"""What the plan says a run will take, and `--max-time`, beside what it took."""

from __future__ import annotations

import csv
import os
import re
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from bench import Bench
from processes import OPSIN, Failed
from table import Line, Row

BARE = ("--no-report", "--no-bundle")
JOBS = {
    "tinyvgg, 20 epochs": ("pizza_steak_sushi", "--model", "tinyvgg", "--epochs", "20", *BARE),
    "tinyvgg, 10 epochs, report, bundle": (
        "pizza_steak_sushi",
        *("--model", "tinyvgg", "--epochs", "10"),
    ),
    "tinyvgg, 20 epochs, trivial": (
        "pizza_steak_sushi",
        *("--model", "tinyvgg", "--epochs", "20", "--augment", "trivial", *BARE),
    ),
    "cnn3 256 px, 6 epochs": ("happy_sad", "--model", "cnn3", "--epochs", "6", *BARE),
    "frozen mobilenetv2": ("pizza_steak_sushi", "--freeze", *BARE),
}
TIMES_S = (10.0, 30.0)
WITHIN, STOPS_WITHIN = 1.25, 1.05
_SAID = re.compile(r"^time +about (.+?) from here .*memory about ([\d.]+) (MB|GB)")
_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def measure(bench: Bench, row: Row) -> None:
    """Each job with an empty cache folder, then again; then some that are given a time."""
    jobs = dict(list(JOBS.items())[:1]) if bench.quick else JOBS
    for name, options in jobs.items():
        for which in ("first run", "second run"):
            found = [_told(bench, name, options, number, which) for number in range(bench.rounds)]
            said_s, took_s, said_mb, took_mb = zip(*found, strict=True)
            row.lines += [
                _line(f"{name}, {which}", "s", said_s, took_s, WITHIN),
                _line(f"{name}, {which}, memory", "MB", said_mb, took_mb, WITHIN),
            ]
    for seconds in TIMES_S[:1] if bench.quick else TIMES_S:
        used = [_budgeted(bench, seconds, number) for number in range(bench.rounds)]
        figure = f"--max-time {seconds:g}s, tinyvgg, 1,000 epochs asked"
        row.lines.append(_line(figure, "s", [seconds] * len(used), used, STOPS_WITHIN))
    row.notes += [
        "said: the line `time` of the plan, seconds from there to the end of the process; the "
        "ratio is that of the larger to the smaller. First run: an empty cache folder.",
        "--max-time: the seconds of all epochs, validation in them; it counts training alone.",
    ]


def _line(
    figure: str, unit: str, said: Sequence[float], took: Sequence[float], within: float
) -> Line:
    """By how many times one is the other, whichever is larger, in the middle of the rounds."""
    shown = ",.0f" if unit == "MB" else ".1f"
    return Line(
        figure,
        f"{statistics.median(said):{shown}} {unit} said",
        "the run",
        f"{statistics.median(took):{shown}} {unit}",
        statistics.median(max(s / t, t / s) for s, t in zip(said, took, strict=True)),
        within,
        at_most=True,
    )


def _command(bench: Bench, options: tuple[str, ...], run: str) -> list[str]:
    data, *more = options
    if "--freeze" in more:
        more += ["--weights", str(bench.weights)]
    place = ["--project", str(bench.work), "--name", run]
    return [*OPSIN, "train", str(bench.data(data)), *more, *place]


def _told(
    bench: Bench, name: str, options: tuple[str, ...], number: int, which: str
) -> tuple[float, float, float, float]:
    """Seconds said and taken, MB said and taken."""
    short = re.sub(r"\W+", "-", f"{name}-{number}")
    command = _command(bench, options, f"{short}-{which.split()[0]}")
    environment = {**os.environ, **bench.cache(f"foretold-{short}")}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )
    said = memory = at = 0.0
    assert process.stderr is not None
    for line in process.stderr:
        match = _SAID.match(line)
        if match:
            said, at = _seconds(match[1]), time.perf_counter()
            memory = float(match[2]) * (1000 if match[3] == "GB" else 1)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or not at:
        raise Failed(f"exit {process.returncode}, or no line with a time: {name}")
    return said, time.perf_counter() - at, memory, usage.ru_maxrss * 1024 / 1e6


def _seconds(text: str) -> float:
    """The inverse of `opsin.core.words.duration`.

    >>> _seconds("17.7 s"), _seconds("1 min 15 s")
    (17.7, 75.0)
    """
    words = text.split()
    return sum(float(n) * _UNITS[unit] for n, unit in zip(words[::2], words[1::2], strict=True))


def _budgeted(bench: Bench, seconds: float, number: int) -> float:
    run = f"time-{seconds:g}-{number}"
    asked = ("--model", "tinyvgg", "--epochs", "1000", "--max-time", f"{seconds:g}s", *BARE)
    command = _command(bench, ("pizza_steak_sushi", *asked), run)
    environment = {**os.environ, **bench.cache("budgeted")}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    with (Path(bench.work) / run / "history.csv").open(encoding="utf-8", newline="") as file:
        return sum(float(line["seconds"]) for line in csv.DictReader(file))
