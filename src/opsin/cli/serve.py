"""`opsin serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import opsin
from opsin.cli.show import code_of, say


def serve(
    run: Annotated[Path, typer.Argument(help="A run folder or a bundle.", metavar="RUN_OR_BUNDLE")],
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free.")] = 8000,
    threads: Annotated[int, typer.Option("--threads", min=0, help="0: all cores.")] = 0,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", help="A name that people reach this by.")
    ] = None,
    show_code: Annotated[bool, typer.Option("--show-code", help="Print the Python twin.")] = False,
) -> None:
    """REST API and web page; Ctrl-C or SIGTERM finishes the requests in hand."""
    if show_code:
        named = {"allow_hosts": tuple(allow_host)} if allow_host else {}
        say(code_of("serve", run, host=host, port=port, threads=threads, **named))
        return

    def ready(address: str) -> None:
        say(f"ready    {address}\nAPI      {address}/docs\nstop     Ctrl-C")

    raise typer.Exit(
        opsin.serve(
            run,
            host=host,
            port=port,
            threads=threads,
            allow_hosts=tuple(allow_host or ()),
            on_ready=ready,
        )
    )
