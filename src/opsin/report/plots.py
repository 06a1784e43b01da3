"""Learning curves as SVG that lives in the page and takes its colours from the page's CSS."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from opsin.core.extras import require
from opsin.training.history import EpochRecord

# Drawn in these, replaced by the page's own colours afterwards: light, dark and print differ.
_INK, _QUIET, _RULE, _TRAIN, _VAL = "#010101", "#020202", "#030303", "#040404", "#050505"
_VARIABLES = {
    _INK: "var(--ink)",
    _QUIET: "var(--quiet)",
    _RULE: "var(--rule)",
    _TRAIN: "var(--train)",
    _VAL: "var(--val)",
}


def learning_curve(
    records: Sequence[EpochRecord],
    quantity: str,
    *,
    best: EpochRecord | None = None,
    baseline: float | None = None,
) -> Markup:
    """`quantity` ("loss" or "accuracy") of training and validation by epoch, as an `<svg>`.

    The best epoch and the borders between stages are marked; `baseline` draws a dotted level.
    The same records give the same bytes. Raises `WrongUsage` without matplotlib.
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
        _draw(axes, records, quantity, best, baseline)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    label = f"{quantity} of training and validation by epoch"
    return _inline(buffer.getvalue(), label)


def _draw(
    axes: Any,
    records: Sequence[EpochRecord],
    quantity: str,
    best: EpochRecord | None,
    baseline: float | None,
) -> None:
    epochs = [record.epoch for record in records]
    at = None if best is None else records.index(best)
    rising = all(b > a for a, b in pairwise(epochs))
    x = epochs if rising else list(range(1, len(records) + 1))
    dot = "o" if len(x) < 3 else ""
    for kind, colour, style in (("train", _TRAIN, (0, (4, 2))), ("val", _VAL, "-")):
        y = [record.values.get(f"{kind}_{quantity}", math.nan) for record in records]
        axes.plot(x, y, color=colour, linestyle=style, linewidth=1.8, marker=dot, markersize=4)
        if kind == "val" and at is not None and math.isfinite(y[at]):
            axes.plot(x[at], y[at], "o", color=colour, markersize=6)
    if at is not None:
        axes.axvline(x[at], color=_QUIET, linewidth=0.8, zorder=0)
    if baseline is not None:
        axes.axhline(baseline, color=_QUIET, linewidth=1, linestyle=":", zorder=0)
    top = axes.get_xaxis_transform()
    for i, record in enumerate(records):
        first = i == 0 or record.stage != records[i - 1].stage
        if first and i:
            axes.axvline((x[i] + x[i - 1]) / 2, color=_RULE, linewidth=5, zorder=-1)
        if first and any(other.stage != record.stage for other in records):
            # ASCII only: a glyph that the measuring font lacks would be a warning.
            name = record.stage.encode("ascii", "replace").decode("ascii")[:20]
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
