"""A straight line through each series, and the plot: python plot_growth.py POINTS.json PLOT.svg."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "opsin"

from matplotlib import pyplot  # noqa: E402


def main() -> None:
    """Fit, draw, and print the fits as JSON."""
    series = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    figure, axes = pyplot.subplots(1, len(series), figsize=(4 * len(series), 3.2))
    fits = {}
    for axis, (name, points) in zip(axes, series.items(), strict=True):
        x, y = np.array(points, float).T
        fits[name] = fit = fitted(x, y)
        axis.plot(x, y, "o")
        axis.plot(x, fit["fixed_s"] + fit["per_unit_s"] * x, "-")
        axis.set(xlabel=name, ylabel="seconds of an epoch")
        axis.set(ylim=(0, 1.1 * y.max()), xlim=(0, 1.05 * x.max()))
        axis.locator_params(axis="x", nbins=4)
        axis.set_title(f"R² = {fit['r2']:.4f}", fontsize=10)
    figure.tight_layout()
    figure.savefig(sys.argv[2], metadata={"Date": None})
    print(json.dumps(fits))


def fitted(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Least squares: fixed cost, cost of one more, and the share of the variance explained."""
    slope, fixed = np.polyfit(x, y, 1)
    residual = y - (fixed + slope * x)
    spread = float(((y - y.mean()) ** 2).sum())
    r2 = 1 - float((residual**2).sum()) / spread if spread else 1.0
    return {"per_unit_s": float(slope), "fixed_s": float(fixed), "r2": r2}


if __name__ == "__main__":
    main()
