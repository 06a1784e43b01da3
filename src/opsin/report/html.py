"""`write_report`: a run folder as one page that opens anywhere, without a network or a script."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from opsin.core.extras import require
from opsin.core.files import write_text
from opsin.core.preprocess import PreprocessSpec
from opsin.core.printable import printable
from opsin.core.report import Report
from opsin.core.version import version
from opsin.data.decode import decode_file
from opsin.report import numbers
from opsin.report.data_facts import SPLITS, class_bars, data_facts, few_bars, training_grid
from opsin.report.headline import SPLIT_WORDS, headline
from opsin.report.pictures import Album, Decode, Shown
from opsin.report.plots import learning_curve
from opsin.report.read import Run, read_run
from opsin.report.results import class_lines, confusion, get, split_lines
from opsin.report.worst import WrongPicture, worst_pictures

_GRID_PX = 200
_WORST_PX = 360


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction with its picture."""

    row: WrongPicture
    shown: Shown


def write_report(
    run: Path,
    *,
    data_root: Path | None,
    decode: Decode = decode_file,
    heatmaps: Mapping[str, NDArray[np.float32]] | None = None,
    spec: PreprocessSpec | None = None,
    commands: Sequence[str] = (),
) -> Path:
    """Write `run`/report.html, whole or not at all, and return its path.

    Reads the run folder, and below `data_root` the few pictures it shows; a picture that is gone
    or changed becomes a placeholder, a part of the run that is missing is left out. `heatmaps`:
    by source id, float32 h w in [0, 1] over the model's input, of the predicted class of the
    pictures that `worst_pictures` names; `spec` says which part of a picture the input is (None:
    all of it). `commands`: what repeats the run, one command each.

    Raises `WrongUsage` if `run` is no folder or a package is missing, `NoRoom` if it cannot write.
    """
    record = read_run(run)
    album = Album(data_root, decode, {row.path: row for row in record.pictures})
    path = run / "report.html"
    write_text(path, render(record, album, heatmaps or {}, spec, commands))
    return path


def render(
    run: Run,
    album: Album,
    heatmaps: Mapping[str, NDArray[np.float32]],
    spec: PreprocessSpec | None,
    commands: Sequence[str],
) -> str:
    """The page as text that UTF-8 can hold."""
    head = headline(run)
    metrics, split = run.metrics, head.split
    baseline = get(metrics, "val", "all", "baseline_accuracy") if metrics else None
    level = baseline.value if baseline else None
    first, hidden, last = few_bars(class_bars(run.pictures, run.classes) if run.pictures else [])
    worst = [
        Mistake(
            row, album.show(row.path, side_px=_WORST_PX, heat=heatmaps.get(row.path), spec=spec)
        )
        for row in (worst_pictures(run.predictions) if run.predictions else [])
    ]
    page: str = _template().render(
        run=run,
        head=head,
        css=_css(),
        version=version(),
        facts=data_facts(run.pictures),
        splits=[(name, SPLIT_WORDS[name]) for name in SPLITS],
        bars=first,
        bars_hidden=hidden,
        bars_last=last,
        bar_max=max((bar.total for bar in first + last), default=1) or 1,
        grid=[
            (name, [(row, album.show(row.path, side_px=_GRID_PX)) for row in rows])
            for name, rows in training_grid(run.pictures, run.classes)
        ]
        if album.root is not None
        else [],
        curves=_curves(run, level),
        baseline_drawn=level is not None,
        best=run.history.best,
        split_words=SPLIT_WORDS,
        lines=split_lines(metrics) if metrics else [],
        made_by=flat({k: v for k, v in metrics.settings.items() if k != "classes"})
        if metrics
        else [],
        level=_level(metrics),
        classes=class_lines(metrics, split, run.classes) if metrics and split else [],
        confusion=confusion(metrics, split, run.classes) if metrics and split else None,
        worst=worst,
        wrong_known=run.predictions is not None and split in run.predictions.splits,
        settings=flat(run.config),
        environment=flat(run.environment),
        commands=list(commands) or _repeat(run),
    )
    return page


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, text).

    >>> flat({"lr": 0.001, "cpu": {"threads": 2}, "freeze": True, "weights": None})
    [('lr', '0.001'), ('cpu.threads', '2'), ('freeze', 'yes'), ('weights', '–')]
    """
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            rows += flat(value, f"{name}.")
        elif isinstance(value, bool):
            rows.append((name, "yes" if value else "no"))
        elif value is None or value == [] or value == {}:
            rows.append((name, "–"))
        elif isinstance(value, list):
            rows.append(
                (name, ", ".join(x if isinstance(x, str) else json.dumps(x) for x in value))
            )
        else:
            rows.append((name, str(value)))
    return rows


def _curves(run: Run, level: float | None) -> list[tuple[str, Markup]]:
    records, best = run.history.records, run.history.best
    if not records:
        return []
    return [
        ("Loss", learning_curve(records, "loss", best=best)),
        ("Accuracy", learning_curve(records, "accuracy", best=best, baseline=level)),
    ]


def _level(metrics: Report | None) -> str:
    """What the intervals hold, as the evaluation says it."""
    said = metrics.settings.get("interval") if metrics else None
    return str(said or "95%").replace("%", "\u00a0%")


def _repeat(run: Run) -> list[str]:
    """The configuration in the run folder repeats the run when it is passed back."""
    if not run.config:
        return []
    config = shlex.quote(str(run.folder / "config.yaml"))
    data = run.config.get("data")
    return [f"opsin train {shlex.quote(str(data)) + ' ' if data else ''}--config {config}"]


def _css() -> Markup:
    return Markup((Path(__file__).parent / "templates" / "report.css").read_text("utf-8"))


def _template() -> Any:
    """The page's template. What it shows passes through `printable`, then is escaped; only SVG
    and CSS of our own are `Markup`.
    """
    jinja2 = require("jinja2", purpose="the report")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: (
            printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
        ),
    )
    environment.filters.update(
        percent=numbers.percent,
        interval=numbers.interval,
        count=numbers.count,
        duration=numbers.duration,
    )
    return environment.get_template("report.html.j2")
