"""Draws schedules.svg beside this file: `.venv/bin/python docs/draw_schedules.py`."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from opsin.training.schedules import SCHEDULES, Schedule, make_schedule

PICTURE = Path(__file__).with_name("schedules.svg")
POINTS = 120
X_LIMITS, Y_LIMITS = (-0.02, 1.02), (-0.04, 1.08)
_LINE, _EXAMPLE, _QUIET, _RULE = "#1d5fa8", "#c2621b", "#555555", "#dddddd"


def curves() -> dict[str, Schedule]:
    """What each panel shows: every schedule with its defaults, and a warm-up before one."""
    panels = {name: make_schedule(name) for name in SCHEDULES}
    return panels | {"cosine, warm-up 0.2": make_schedule("cosine", warmup=0.2)}


def figure() -> Figure:
    """All panels, four in a row."""
    drawn = Figure(figsize=(10, 6.4))
    drawn.subplots_adjust(left=0.075, right=0.99, top=0.95, bottom=0.09, wspace=0.16, hspace=0.42)
    rows = drawn.subplots(3, 4, sharex=True, sharey=True)
    panels = [axes for row in rows for axes in row]
    for axes, (name, schedule) in zip(panels, curves().items(), strict=True):
        _draw(axes, name, schedule)
    drawn.supxlabel("progress: the share of the stage's steps that are done", fontsize=10)
    drawn.supylabel("share of the peak rate --lr", fontsize=10, x=0.008)
    return drawn


def svg() -> str:
    """The picture as text: the same schedules give the same bytes with the same matplotlib."""
    with rc_context():
        rcdefaults()
        rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "opsin-schedules"})
        # Else points that a line can do without are left out, and the curves cannot be read back.
        rcParams["path.simplify"] = False
        buffer = io.StringIO()
        unsaid = {"Date": None, "Creator": None}
        figure().savefig(buffer, format="svg", facecolor="white", metadata=unsaid)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def _draw(axes: Axes, name: str, schedule: Schedule) -> None:
    x = [n / POINTS for n in range(POINTS + 1)]
    (line,) = axes.plot(x, [schedule(p) for p in x], color=_LINE, linewidth=2)
    line.set_gid(f"curve-{name}")
    axes.patch.set_gid(f"frame-{name}")
    if name == "plateau":
        lowered = [0.1 ** ((p > 0.4) + (p > 0.75)) for p in x]
        axes.plot(x, lowered, color=_EXAMPLE, linewidth=1.5, linestyle=(0, (4, 2)))
        axes.text(0.44, 0.55, "for example,\nlowered twice", color=_EXAMPLE, fontsize=9)
    axes.set_title(name, fontsize=11, fontweight="bold", loc="left")
    axes.set(xlim=X_LIMITS, ylim=Y_LIMITS, xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.tick_params(colors=_QUIET, length=0, labelbottom=True)
    axes.grid(color=_RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


if __name__ == "__main__":
    PICTURE.write_text(svg(), encoding="utf-8")
