"""Peak memory of `opsin train` on sets of growing size: it must not grow with them."""

from __future__ import annotations

import shutil

from bench import Bench
from processes import OPSIN
from resident import Peaks, watched
from synthetic import write
from table import Line, Row

SIZES = (2_000, 20_000, 200_000)
BUDGET_S = 600.0
"""A set that would take longer than this, by the one before it, is not measured."""


def measure(bench: Bench, row: Row) -> None:
    """A line for each size beside the smallest."""
    base: Peaks | None = None
    last_s = 0.0
    for pictures in (500, 2_000) if bench.quick else SIZES:
        figure = f"{pictures:,} pictures"
        if last_s * 10 > BUDGET_S and pictures > SIZES[1]:
            why = f"not measured: would take about {last_s / 6:.0f} minutes"
            row.lines.append(Line(figure, beside="itself", failed=why))
            continue
        data = write(bench.work / f"set-{pictures}", pictures, 10, 28)
        command = [*OPSIN, "train", str(data), "--model", "lenet", "--image-size", "28"]
        command += ["--epochs", "1", "--no-report", "--no-bundle", "--no-tune"]
        command += ["--project", str(bench.work), "--name", f"run-{pictures}"]
        peaks = watched(command, bench.cache("memory"), bench.work)
        last_s, base = peaks.wall_s, base or peaks
        row.lines.append(
            Line(
                f"{figure}, {peaks.wall_s:.0f} s",
                f"{peaks.own:.0f} MB",
                "itself, smallest set",
                f"{base.own:.0f} MB",
                peaks.own / base.own,
                1.1,
                at_most=True,
                accuracy=f"with mapped files {peaks.mapped:.0f} MB",
            )
        )
        shutil.rmtree(data)
    row.notes += [
        "`opsin train --model lenet --image-size 28 --epochs 1 --no-report --no-bundle --no-tune` "
        "on JPEGs of 28 px, all different, ten classes; the ratio is to the smallest set.",
        "anonymous memory of the process and its children together, looked at ten times a second; "
        "pages of mapped files, which the system takes back when it needs them, stand beside. A "
        "page that two processes share counts twice there.",
    ]
