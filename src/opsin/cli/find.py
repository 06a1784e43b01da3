"""`opsin find`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import opsin
from opsin.cli.settings import takes_settings
from opsin.cli.show import code_of, near_path, say
from opsin.core.progress import choose_progress
from opsin.core.words import size

if TYPE_CHECKING:
    from opsin.api.found import BatchSizeFound, OverfitFound, RateFound

ENDED = {
    "diverged": "the loss was four times its best",
    "not finite": "the loss was no longer a number",
    "whole range": "the whole range was tried",
}


@takes_settings
def find(
    what: Annotated[str, typer.Argument(help="lr, batch-size or overfit.")],
    data: Annotated[
        Path | None, typer.Argument(help="Folder of pictures, one folder per class.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Plot of lr: .svg, .png or .pdf.", metavar="FILE")
    ] = Path("lr.svg"),
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML file of settings.", metavar="FILE")
    ] = None,
    show_code: Annotated[bool, typer.Option("--show-code", help="Print the Python twin.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    **settings: Any,
) -> None:
    """Try what `opsin train` would do with these settings; no run folder is made.

    \b
      opsin find lr photos/            a learning rate, with a plot of loss by rate
      opsin find batch-size photos/    what fits the memory, and what is fastest
      opsin find overfit photos/       can the model learn one batch by heart? (exit 1: no)
    """
    given = {name: value for name, value in settings.items() if value is not None}
    more: dict[str, Any] = {"config": config} if config else {}
    if output != Path("lr.svg"):
        more["output"] = output
    if show_code:
        say(code_of("find", what, data, **more, **given))
        return
    result: Any = opsin.find(what, data, **more, progress=choose_progress(quiet=quiet), **given)
    again = _train_command(data, config, given)
    if as_json:
        say(json.dumps(result.to_dict()))
    elif what == "lr":
        say(_rate(result, again))
    elif what == "batch-size":
        say(_batch_size(result, again))
    else:
        say(_overfit(result, again))
    if what == "overfit" and not result.passed:
        raise typer.Exit(1)


def _rate(found: RateFound, again: str) -> str:
    curve = found.curve
    if not curve.rates:
        return (
            "the loss is not a number at the first step, before anything was learnt: look at the "
            "model, its weights and the labels (opsin find overfit)"
        )
    lines = [f"{len(curve.rates)} steps, rates {curve.rates[0]:.0e} to {curve.rates[-1]:.1e}: "]
    lines[0] += ENDED[curve.ended]
    if found.lr is None:
        lines.append(
            "no rate lowered the loss by more than the noise of batches: look at model and labels "
            "with opsin find overfit, or try another --optimizer"
        )
    else:
        lines += [
            f"suggested  {found.lr:g}  (a tenth of the rate with the lowest loss)",
            f"valley     {curve.valley:.2g}  (middle of the longest descent)",
            f"steepest   {curve.steepest:.2g}  (where the loss falls fastest)",
        ]
    if found.plot:
        lines.append(f"plot       {near_path(found.plot)}")
    if found.lr is not None:
        lines += ["", f"next    {again} --lr {found.lr:g}"]
    return "\n".join(lines)


def _batch_size(found: BatchSizeFound, again: str) -> str:
    sizes = found.sizes
    lines = ["  batch   ms/step   images/s   memory (about)"]
    for row in sizes.rows:
        mark = "  <- recommended" if row is sizes.best else ""
        lines.append(
            f"  {row.samples:>5}   {row.seconds * 1e3:>7.1f}   {row.per_second:>8.0f}   "
            f"{size(row.bytes):>8}{mark}"
        )
    end = {"data": "all training pictures in one", "memory": f"{size(sizes.free)} were free"}
    proof = "proved by a step" if sizes.proved else "by estimate, not tried: it would take long"
    lines.append(f"largest batch  {sizes.largest:,}: {end[sizes.limit]}; {proof}")
    lines.append(f"recommended    {found.batch_size}: the smallest within 5 % of the fastest")
    return "\n".join([*lines, "", f"next    {again} --batch-size {found.batch_size}"])


def _overfit(found: OverfitFound, again: str) -> str:
    result = found.result
    said = (
        f"one batch of {result.samples}, {len(result.losses)} steps: loss {result.losses[0]:.3g} "
        f"to {result.losses[-1]:.3g} (without augmentation, dropout and label smoothing)"
    )
    if found.passed:
        return f"passed  {said}\n\nnext    {again}"
    lines = [
        f"failed  {said}",
        "a model that cannot learn one batch by heart has a fault; look at:",
    ]
    return "\n".join(lines + [f"  - {text}" for text in found.advice])


def _train_command(data: Path | None, config: Path | None, given: dict[str, Any]) -> str:
    words = ["opsin", "train"] + ([str(data)] if data else [])
    words += ["--config", str(config)] if config else []
    for name, value in given.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", str(value)]
    return shlex.join(words)
