"""`opsin train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import opsin
from opsin.cli.settings import takes_settings
from opsin.cli.show import code_of, final_block, say
from opsin.core.errors import WrongUsage
from opsin.core.progress import choose_progress


@takes_settings
def train(
    data: Annotated[
        Path | None, typer.Argument(help="Folder of pictures, one folder per class.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", help="Go on with this run.", metavar="RUN")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML file of settings.", metavar="FILE")
    ] = None,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes",
            help="With --resume: begin a new run where data or settings have changed.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Everything but the training; writes nothing.")
    ] = False,
    show_settings: Annotated[
        bool, typer.Option("--show-settings", help="Settle the settings only, and print them.")
    ] = False,
    show_code: Annotated[bool, typer.Option("--show-code", help="Print the Python twin.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    **settings: Any,
) -> None:
    """Split, train, evaluate, report and bundle a folder of pictures.

    \b
      opsin train photos/
      opsin train photos/ --model timm:mobilenetv2_100 --pretrained --freeze
      opsin train --resume runs/latest
      opsin train --resume runs/latest --epochs 200
    """
    given = {name: value for name, value in settings.items() if value is not None}
    again = given | ({"accept_changes": True} if accept_changes else {})
    only_looks = dry_run or show_settings
    if resume is not None and (data is not None or config or only_looks):
        raise WrongUsage(
            "--resume goes on with the run's own data and settings; only --epochs, --processes and "
            "--accept-changes may stand beside it",
            where="resume",
            fix="begin a new run for other data",
        )
    if accept_changes and resume is None:
        raise WrongUsage("--accept-changes belongs to --resume RUN", where="accept_changes")
    if show_code:
        if only_looks:
            raise WrongUsage("a --dry-run has no twin; --show-code runs nothing by itself")
        say(
            code_of("resume", resume, **again)
            if resume
            else code_of("train", data, **({"config": config} if config else {}), **given)
        )
        return
    progress = choose_progress(quiet=quiet)
    if resume is not None:
        result = opsin.resume(resume, progress=progress, **again)
    elif dry_run and not show_settings:
        from opsin.api.dry_run import dry_run as look

        found = look(data, config=config, progress=progress, **given)
        say(json.dumps(found.to_dict()) if as_json else "\n".join(found.lines()))
        return
    elif show_settings:
        from opsin.api.train import resolve

        settled = resolve({"data": data} | given, config)
        say(json.dumps(settled.model_dump(mode="json"), indent=2))
        return
    else:
        result = opsin.train(data, config=config, progress=progress, **given)
    say(json.dumps(result.to_dict()) if as_json else final_block(result))
