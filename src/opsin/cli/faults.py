"""Every way a command can end: its exit code, and what the person reads."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typer.exceptions import Abort, TyperException

from opsin.cli.system_faults import system_fault
from opsin.core.errors import NotEnoughMemory, OpsinError, WrongUsage
from opsin.core.printable import printable

INTERRUPTED = 130


def run_and_explain(command: Any, words: Sequence[str], *, debug: bool = False) -> int:
    """Run `command` and turn whatever it raises into a message and an exit code."""
    as_json = "--json" in words
    _write_anything()
    try:
        code = command.main(args=list(words), prog_name="opsin", standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:  # Typer has turned the KeyboardInterrupt into this number
            print("\nstopped; nothing half-written was left", file=sys.stderr)
        return code if isinstance(code, int) else 0
    except TyperException as error:
        if as_json:
            explain(WrongUsage(error.format_message(), code="usage"), as_json=True)
        else:  # what is wrong, the nearest option, and where help is
            show = getattr(error, "show", None)
            show() if show else print(f"error: {error}", file=sys.stderr)
        return WrongUsage.exit_code
    except (KeyboardInterrupt, Abort):
        print("\nstopped; nothing half-written was left", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _give_up_output()  # its reader went away (`opsin ... | head`)
        return 0
    except Exception as error:
        if debug:
            raise
        return _say(_fault_of(error), as_json=as_json)


def _fault_of(error: Exception) -> OpsinError:
    """What `error` means to the person; a bug of ours when it means nothing we know."""
    if isinstance(error, OpsinError):
        return error
    if isinstance(error, MemoryError):
        return NotEnoughMemory("not enough memory", fix="a smaller --batch-size")
    fault = system_fault(error) if isinstance(error, OSError | UnicodeError) else None
    return fault or OpsinError(
        f"internal error: {type(error).__name__}: {error}; this is a bug of Opsin",
        fix="run again with --debug and report the traceback",
    )


def _say(fault: OpsinError, *, as_json: bool) -> int:
    try:
        sys.stdout.flush()
        explain(fault, as_json=as_json)
        sys.stdout.flush()
    except OSError:  # standard output itself is what cannot be written
        _give_up_output()
        explain(fault, as_json=False)
    return fault.exit_code


def explain(error: OpsinError, *, as_json: bool) -> None:
    """Print a fault: as JSON on stdout, or as lines on stderr. What a picture's fault is called
    stands before its message, as it does in `opsin check`.
    """
    if as_json:
        print(json.dumps(error.to_dict()))
        return
    said = getattr(error, "said", error.message)
    where = f"{printable(error.where)}: " if error.where else ""
    print(f"error: {where}{printable(said)}", file=sys.stderr)
    if error.fix:
        print(f"to do: {printable(error.fix)}", file=sys.stderr)


def _write_anything() -> None:
    """What the encoding of a terminal cannot show is escaped, not an error; a stream that was
    closed before the start, as a daemon's may be, takes everything and keeps nothing.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  open to the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _give_up_output() -> None:
    """Send the rest of standard output nowhere, so that Python does not complain again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
