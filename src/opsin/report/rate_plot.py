"""The learning rate range test as a picture of its own."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsin.core.errors import WrongUsage

if TYPE_CHECKING:
    from opsin.training.finders.rate import RateCurve

FORMATS = ("svg", "png", "pdf")
_INK, _QUIET, _RULE, _LINE, _MARK = "#222222", "#666666", "#dddddd", "#2563ab", "#c2410c"


def check_format(path: Path) -> None:
    """Raise `WrongUsage` unless the name of `path` ends like one of `FORMATS`."""
    if path.suffix.lstrip(".").lower() not in FORMATS:
        raise WrongUsage(
            f'a plot is .svg, .png or .pdf, came "{path.suffix}"', where=str(path), fix="-o lr.svg"
        )


def rate_plot(curve: RateCurve, form: str) -> bytes:
    """Loss by learning rate (log axis), each step and smoothed, with the three suggestions; as one
    of `FORMATS`. The same curve gives the same bytes.
    """
    from matplotlib import rc_context, rcdefaults, rcParams
    from matplotlib.figure import Figure

    with rc_context():
        rcdefaults()
        rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "opsin-lr", "font.size": 10})
        figure = Figure(figsize=(6.4, 4.0), layout="constrained", facecolor="white")
        _draw(figure.add_subplot(), curve)
        buffer = io.BytesIO()
        undated: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        figure.savefig(buffer, format=form, dpi=150, metadata=undated.get(form))
    return buffer.getvalue()


def _draw(axes: Any, curve: RateCurve) -> None:
    axes.set_xscale("log")
    axes.plot(curve.rates, curve.losses, ".", color=_QUIET, alpha=0.45, markersize=4)
    axes.plot(curve.rates, curve.smoothed, color=_LINE, linewidth=2)
    low, high = min(curve.losses), max(curve.smoothed[: max(1, len(curve.smoothed) // 2)])
    # Where training diverges the loss has no scale; the part that matters keeps the room.
    room = max(high - low, 0.05 * abs(high), 1e-6)
    axes.set_ylim(low - 0.08 * room, high + 0.3 * room)
    marks = (
        ("suggested", curve.tenth, _MARK, "-"),
        ("valley", curve.valley, _QUIET, "--"),
        ("steepest", curve.steepest, _QUIET, ":"),
    )
    for name, rate, colour, style in marks:
        if rate is not None:
            label = f"{name} {rate:.1e}"
            axes.axvline(rate, color=colour, linestyle=style, linewidth=1.4, label=label, zorder=0)
    if curve.tenth is not None:
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0.2
        )
    axes.set_xlabel("learning rate", color=_INK)
    axes.set_ylabel("training loss", color=_INK)
    axes.grid(axis="y", color=_RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_QUIET, which="both", length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_RULE)
