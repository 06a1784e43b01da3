"""`opsin`: the table of verbs. A verb's file is loaded when the verb is used, and not before."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from opsin.cli.arguments import with_dashes
from opsin.cli.faults import run_and_explain
from opsin.cli.leave import leave
from opsin.core.registry import unknown

VERBS = {
    "check": ("opsin.cli.check:check", "What is wrong with the data, before it costs anything."),
    "augment": ("opsin.cli.augment:augment", "A sheet of your pictures as a recipe changes them."),
    "train": ("opsin.cli.train:train", "Split, train, evaluate, report and bundle."),
    "find": ("opsin.cli.find:find", "A learning rate, a batch size; can the model learn at all?"),
    "evaluate": ("opsin.cli.evaluate:evaluate", "The numbers of a run, with intervals."),
    "predict": ("opsin.cli.predict:predict", "Ask a run or bundle about pictures."),
    "export": ("opsin.cli.export:export", "Write a bundle from a run or a pretrained model."),
    "verify": ("opsin.cli.verify:verify", "Is a bundle whole, and are its answers right here?"),
    "serve": ("opsin.cli.serve:serve", "REST API and web page from a run or bundle."),
    "demo": ("opsin.cli.demo:demo", "The whole way on handwritten digits, in a minute."),
    "cache": ("opsin.cli.cache:cache", "What is kept for later runs: list it, clear it."),
    "doctor": ("opsin.cli.doctor:doctor", "Versions, device, memory, settings."),
}

EXAMPLES = """From a folder of pictures to a model in service.

\b
  opsin check photos/                 what is wrong with the data
  opsin train photos/                 split, train, evaluate, report, bundle
  opsin predict runs/latest cat.jpg   ask the model
  opsin serve runs/latest             REST API and web page
"""


class LazyVerbs(TyperGroup):
    """Verbs by name; help shows them from the table alone."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stub with the verb's one line, for help and suggestions."""
        if cmd_name not in VERBS:
            return None
        return TyperCommand(cmd_name, help=VERBS[cmd_name][1])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb itself."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise unknown("verb", args[0], list(VERBS))
        name, stub, rest = super().resolve_command(ctx, args)
        if stub is None or stub.name is None:
            return name, stub, rest
        command = load_verb(stub.name)
        return name, command, with_dashes(command, rest)


def load_verb(name: str) -> Any:
    """The click command of a verb."""
    module, _, attribute = VERBS[name][0].partition(":")
    function: Any = getattr(importlib.import_module(module), attribute)
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name=name)(function)
    return typer.main.get_command(app)


def _version(value: bool) -> None:
    if value:
        from opsin.core.version import version

        typer.echo(f"opsin {version()}")
        raise typer.Exit()


app = typer.Typer(
    cls=LazyVerbs, add_completion=False, no_args_is_help=True, rich_markup_mode=None, help=EXAMPLES
)


@app.callback()
def opsin(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks; allowed anywhere."),
) -> None:
    """Shared options; the verbs do the work."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry of the command `opsin`, which ends the process; with `arguments`, by SystemExit."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    code = run_and_explain(typer.main.get_command(app), words, debug=debug)
    leave(code) if arguments is None else sys.exit(code)
