"""Every way a command can end: its exit code, and what the person reads."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from typer.exceptions import Abort, TyperException

from opsin.core.errors import OpsinError

INTERRUPTED = 130


def run_and_explain(command: Any, words: Sequence[str], *, debug: bool = False) -> int:
    """Run `command` and turn whatever it raises into a message and an exit code."""
    as_json = "--json" in words
    try:
        code = command.main(args=list(words), prog_name="opsin", standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:  # Typer has turned the KeyboardInterrupt into this number
            print("\nstopped; nothing half-written was left", file=sys.stderr)
        return code if isinstance(code, int) else 0
    except TyperException as error:  # usage: what is wrong, the nearest option, where help is
        show = getattr(error, "show", None)
        show() if show else print(f"error: {error}", file=sys.stderr)
        return 2
    except OpsinError as error:
        if debug:
            raise
        explain(error, as_json=as_json)
        return error.exit_code
    except (KeyboardInterrupt, Abort):
        print("\nstopped; nothing half-written was left", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # the reader of our output went away (`opsin ... | head`); Python must not complain again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        print("error: not enough memory. To do: a smaller --batch-size", file=sys.stderr)
        return 7
    except Exception as error:
        if debug:
            raise
        print(
            f"internal error: {type(error).__name__}: {error}\n"
            "This is a bug of Opsin. To do: run again with --debug and report the traceback",
            file=sys.stderr,
        )
        return 70


def explain(error: OpsinError, *, as_json: bool) -> None:
    """Print a fault: as JSON on stdout, or as lines on stderr."""
    if as_json:
        print(json.dumps(error.to_dict()))
        return
    where = f"{printable(error.where)}: " if error.where else ""
    print(f"error: {where}{printable(error.message)}", file=sys.stderr)
    if error.fix:
        print(f"to do: {printable(error.fix)}", file=sys.stderr)


def printable(text: str) -> str:
    """Text that a terminal can show: control characters and broken UTF-8 are escaped.

    >>> printable("a" + chr(27) + "b" + chr(10))
    'a\\\\x1bb\\\\n'
    """
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")
