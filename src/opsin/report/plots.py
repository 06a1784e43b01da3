"""Learning curves as SVG that lives in the page and takes its colours from the page's CSS."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from opsin.core.extras import require
from opsin.report.read import EpochRow

# Drawn in these, replaced by the page's own colours afterwards: light, dark and print differ.
_INK, _QUIET, _RULE, _TRAIN, _VAL = "#010101", "#020202", "#030303", "#040404", "#050505"
_VARIABLES = {
    _INK: "var(--ink)",
    _QUIET: "var(--quiet)",
    _RULE: "var(--rule)",
    _TRAIN: "var(--train)",
    _VAL: "var(--val)",
}


@dataclass(frozen=True)
class Best:
    """The epoch whose weights were kept: index into the history, the column that decided, and
    its value.
    """

    index: int
    monitor: str
    value: float


def best_epoch(history: Sequence[EpochRow], monitor: str) -> Best | None:
    """The first row with the best value of `monitor` ("val_loss", "accuracy", ...): lowest for a
    loss, highest otherwise. An unknown monitor counts as "val_loss". None without any value.
    """
    name = monitor if monitor.startswith(("train_", "val_")) else f"val_{monitor}"
    if name not in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        name = "val_loss"
    sign = 1.0 if name.endswith("loss") else -1.0
    known = [
        (sign * v, i) for i, row in enumerate(history) if (v := getattr(row, name)) is not None
    ]
    if not known:
        return None
    value, index = min(known)
    return Best(index, name, sign * value)


def learning_curve(
    history: Sequence[EpochRow],
    quantity: str,
    *,
    best: Best | None = None,
    baseline: float | None = None,
) -> Markup:
    """`quantity` ("loss" or "accuracy") of training and validation by epoch, as an `<svg>`.

    The best epoch and the borders between stages are marked; `baseline` draws a dotted level.
    The same history gives the same bytes. Raises `WrongUsage` without matplotlib.
    """
    require("matplotlib", purpose="the report")
    from matplotlib import rc_context, rcdefaults, rcParams
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # SVG's two switches exist as rcParams only, and a person's matplotlibrc must not change the
    # report; the context puts everything back.
    with rc_context():
        rcdefaults()
        rcParams.update({"svg.fonttype": "none", "svg.hashsalt": f"opsin-{quantity}"})
        rcParams["font.size"] = 9.5
        figure = Figure(figsize=(4.8, 2.9), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        _draw(axes, history, quantity, best, baseline)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    label = f"{quantity} of training and validation by epoch"
    return _inline(buffer.getvalue(), label)


def _draw(
    axes: Any,
    history: Sequence[EpochRow],
    quantity: str,
    best: Best | None,
    baseline: float | None,
) -> None:
    epochs = [row.epoch for row in history]
    rising = all(b > a for a, b in pairwise(epochs))
    x = epochs if rising else list(range(1, len(history) + 1))
    dot = "o" if len(x) < 3 else ""
    for kind, colour, style in (("train", _TRAIN, (0, (4, 2))), ("val", _VAL, "-")):
        values = [getattr(row, f"{kind}_{quantity}") for row in history]
        y = [float("nan") if value is None else value for value in values]
        axes.plot(x, y, color=colour, linestyle=style, linewidth=1.8, marker=dot, markersize=4)
        if kind == "val" and best is not None and values[best.index] is not None:
            axes.plot(x[best.index], values[best.index], "o", color=colour, markersize=6)
    if best is not None:
        axes.axvline(x[best.index], color=_QUIET, linewidth=0.8, zorder=0)
    if baseline is not None:
        axes.axhline(baseline, color=_QUIET, linewidth=1, linestyle=":", zorder=0)
    top = axes.get_xaxis_transform()
    for i, row in enumerate(history):
        first = i == 0 or row.stage != history[i - 1].stage
        if first and i:
            axes.axvline((x[i] + x[i - 1]) / 2, color=_RULE, linewidth=5, zorder=-1)
        if first and any(other.stage != row.stage for other in history):
            # ASCII only: a glyph that the measuring font lacks would be a warning.
            name = row.stage.encode("ascii", "replace").decode("ascii")[:20]
            axes.text(x[i], 1.02, name, transform=top, color=_QUIET, fontsize=8.5, parse_math=False)
    if quantity == "accuracy":
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if len(x) == 1:
        axes.set_xlim(x[0] - 1, x[0] + 1)
        axes.set_xticks(x)
    axes.set_xlabel("epoch", color=_QUIET)
    axes.grid(axis="y", color=_RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_QUIET, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_RULE)


def _inline(svg: str, label: str) -> Markup:
    """The `<svg>` element alone: no prolog, metadata or style of its own, no ids but those of
    clip paths and markers (the others would stand twice in a page with two plots), no fixed size,
    the page's colours.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="(?![mp][0-9a-f]{10}")[^"]*"', "", svg)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return Markup(svg)
