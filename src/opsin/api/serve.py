"""`opsin serve`: REST API and web page from a bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def serve(
    run_or_bundle: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    threads: int = 0,
    allow_hosts: tuple[str, ...] = (),
    on_ready: Callable[[str], None] | None = None,
) -> int:
    """Serve the bundle until Ctrl-C or SIGTERM; returns the exit code (130 or 143).

    `on_ready` is called with the address once the golden samples gave the recorded answers.
    Raises `ModelRefused`, `NumbersWrong`, `Locked` (port in use).
    """
    from opsin.bundle.load import find_bundle
    from opsin.serving.run import serve as run_server

    return run_server(
        find_bundle(Path(run_or_bundle)),
        host=host,
        port=port,
        threads=threads,
        allow_hosts=allow_hosts,
        on_ready=on_ready,
    )
