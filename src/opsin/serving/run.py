"""`serve`: the whole server, from a bundle's folder to an exit code."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import math
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from opsin.core.errors import Locked, WrongUsage
from opsin.serving.handler import ModelInfo, Service
from opsin.serving.limits import ServeLimits

if TYPE_CHECKING:
    import uvicorn

_BACKLOG = 1024
_LAST_PORT = 65535
_WANTED_FILES = 8192


def serve(
    path: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    threads: int = 0,
    limits: ServeLimits | None = None,
    allow_hosts: tuple[str, ...] = (),
    on_ready: Callable[[str], None] | None = None,
) -> int:
    """Serve the bundle at `path` until Ctrl-C (returns 130) or SIGTERM (143).

    `port` 0 takes any free one. `threads`: of onnxruntime, 0 for all cores. `allow_hosts`:
    further names under which it may be asked. `on_ready` gets the address (without a slash at its
    end) once the golden samples gave the recorded answers. Both signals let the requests in hand be
    finished; a second one does not. Raises `WrongUsage`, `Locked` (port in use), `ModelRefused`,
    `NumbersWrong`.
    """
    with _stop_signals() as stop, contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen(host, port))
        service = Service(path, threads=threads, limits=limits)
        stack.callback(service.abort)
        first = service.launch()
        # after the launch: the worker starts up while we import
        server = _server(service, host, allow_hosts)
        stop.server = server
        asyncio.run(_run(server, listener, first, on_ready, _address(host, listener)))
        if first.done():
            first.result()  # raises what was wrong with the bundle
        if service.info is not None and not server.force_exit:
            service.stop()  # else there is nothing to finish
    return 128 + stop.signal if stop.signal else 0


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at `host` and `port`. Raises `Locked` or `WrongUsage`."""
    where = f"{host}:{port}"
    if not 0 <= port <= _LAST_PORT:  # getaddrinfo would take it modulo 65,536
        raise WrongUsage(f"a port is a number from 0 to {_LAST_PORT}", code="no_port", where=where)
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise WrongUsage(
            f"not an address to listen at ({error})", code="no_such_host", where=where
        ) from error
    any_ipv6 = family == socket.AF_INET6 and address[0] == "::"
    try:
        # not by hand: SO_REUSEADDR lets a second server take the port on Windows, and is needed
        # everywhere else for a quick restart
        listener = socket.create_server(
            address,
            family=family,
            backlog=_BACKLOG,
            dualstack_ipv6=any_ipv6 and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Locked(
                f"port {port} is in use by another process",
                code="port_in_use",
                where=where,
                fix=f"stop it, or choose another port: --port {port + 1} (0 takes any free one)",
            ) from error
        raise WrongUsage(
            f"cannot listen there ({error.strerror or error})",
            code="cannot_listen",
            where=where,
            fix="choose a port from 1024 to 65535 and an address of this machine",
        ) from error
    listener.setblocking(False)
    return listener


async def _run(
    server: uvicorn.Server,
    listener: socket.socket,
    first: Future[ModelInfo],
    on_ready: Callable[[str], None] | None,
    address: str,
) -> None:
    async def announce() -> None:
        try:
            await asyncio.wrap_future(first)
        except Exception:
            server.should_exit = True  # `serve` raises it once the sockets are closed
            return
        if on_ready:
            on_ready(address)

    announcing = asyncio.create_task(announce())
    await server.serve(sockets=[listener])
    announcing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await announcing


def _server(service: Service, host: str, allow_hosts: tuple[str, ...]) -> uvicorn.Server:
    import uvicorn

    from opsin.serving.hosts import Hosts
    from opsin.serving.http import create_app
    from opsin.serving.protocol import with_deadline

    class Server(uvicorn.Server):
        """Signals are caught by `serve`, before there is a server."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    limits = service.limits
    # both report what clients send as if it were a fault of ours
    for name in ("uvicorn.error", "python_multipart", "python_multipart.multipart"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    _more_open_files()
    return Server(
        uvicorn.Config(
            create_app(service, hosts=Hosts(host, allow_hosts)),
            http=with_deadline(limits.receive_s),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=math.ceil(
                limits.receive_s + limits.max_wait_s + limits.decode_s + limits.infer_s
            ),
        )
    )


def _address(host: str, listener: socket.socket) -> str:
    shown = "127.0.0.1" if host in ("", "0.0.0.0") else "::1" if host == "::" else host
    port = listener.getsockname()[1]
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


class _Stop:
    """Which signal came, and the server that is to be told."""

    def __init__(self) -> None:
        self.signal = 0
        self.server: uvicorn.Server | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.server is None:  # nothing runs yet that would have to be finished
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        if self.signal:
            self.server.force_exit = True
        self.signal = self.signal or number
        self.server.should_exit = True


@contextlib.contextmanager
def _stop_signals() -> Iterator[_Stop]:
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _more_open_files() -> None:
    """Every slow sender holds a connection; the usual 1,024 files are soon used up."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
