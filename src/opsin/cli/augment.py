"""`opsin augment`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import opsin
from opsin.cli.show import code_of, near_path, say
from opsin.core.augment import AUGMENTATIONS, PRESETS
from opsin.core.printable import printable

RECIPE = "What to do: none, light, trivial, or names with commas: flip,rotate=15,mixup=0.2."


def augment(
    data: Annotated[
        Path | None, typer.Argument(help="Folder of pictures, one folder per class.")
    ] = None,
    recipe: Annotated[str, typer.Option("--augment", help=RECIPE)] = "light",
    rows: Annotated[int, typer.Option(help="Pictures.")] = 4,
    columns: Annotated[int, typer.Option(help="Each as it is, and so many less one more.")] = 8,
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG.")] = Path("augment.png"),
    image_size: Annotated[
        int, typer.Option("--image-size", "--imgsz", help="Side in pixels.")
    ] = 160,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Follow links that leave the folder.")
    ] = False,
    names: Annotated[bool, typer.Option("--list", help="All augmentations, and end.")] = False,
    show_code: Annotated[bool, typer.Option("--show-code", help="Print the Python twin.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> None:
    """Write a sheet of augmented pictures, the drawn parameters under each; trains nothing."""
    if names:
        say(_table())
        return
    if data is None:
        raise typer.BadParameter("is missing", param_hint="DATA")
    if show_code:
        given: dict[str, Any] = {"augment": recipe, "rows": rows, "columns": columns}
        given |= {"output": output, "image_size": image_size, "seed": seed}
        given |= {"follow_links": True} if follow_links else {}
        say(code_of("augment", data, **given))
        return
    result = opsin.augment(
        data,
        augment=recipe,
        rows=rows,
        columns=columns,
        output=output,
        image_size=image_size,
        seed=seed,
        follow_links=follow_links,
    )
    if as_json:
        say(json.dumps(result.to_dict()))
        return
    for finding in result.findings:
        typer.echo(printable(f"! {finding.where[0]}: {finding.message}"), err=True)
    say(f"sheet   {near_path(result.path)}")
    say(f"\nnext    opsin train {data} --augment {result.recipe}")


def _table() -> str:
    lines = [f"{name:13} {recipe or 'no augmentation'}" for name, recipe in PRESETS.items()]
    for name, setting in AUGMENTATIONS.items():
        strength = (
            f"{setting.default:<6g} {setting.low:g} to {setting.high:g} {setting.unit}"
            if setting.default is not None
            else ""
        )
        lines.append(f"{name:13} {strength:42} {setting.help}")
    return "\n".join(lines)
