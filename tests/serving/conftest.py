"""A real server in a process of its own, on a free port of the loopback, with a genuine bundle."""

from __future__ import annotations

import io
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from PIL import Image

from opsin.testing.bundles import tiny_bundle

START_S = 30
"""Far above what is measured: this is not a timed test."""

_SCRIPT = """
import json, os, sys
from pathlib import Path
import opsin.serving.handler
from opsin.core.errors import OpsinError
from opsin.serving.limits import ServeLimits
from opsin.serving.run import serve

path, port, faulty, limits = sys.argv[1:]
if faulty == "yes":
    opsin.serving.handler.WORKER = "opsin.testing.faulty_worker:factory"
if "OPSIN_TEST_BRAKE" in os.environ:
    opsin.serving.handler.WORKER = "slow_start:factory"
try:
    code = serve(
        Path(path),
        port=int(port),
        threads=1,
        limits=ServeLimits(**json.loads(limits)),
        allow_hosts=("pictures.example",),
        on_ready=lambda url: print(url, flush=True),
    )
except OpsinError as error:
    print(error, file=sys.stderr)
    code = error.exit_code
sys.exit(code)
"""


class RunningServer:
    """The process, its address, and a client."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self.port = int(url.rstrip("/").rpartition(":")[2])
        self.client = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def predict(self, data: bytes, name: str = "picture.png") -> httpx.Response:
        return self.client.post("/predict", files={"file": (name, data)})

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def metric(self, name: str) -> float:
        match = re.search(rf"^{re.escape(name)} (\S+)$", self.client.get("/metrics").text, re.M)
        return float(match[1]) if match else 0.0

    def worker_pid(self) -> int:
        """The one child of the server."""
        children = Path(f"/proc/{self.process.pid}/task")
        pids = [pid for t in children.iterdir() for pid in (t / "children").read_text().split()]
        assert len(pids) == 1
        return int(pids[0])

    def wait_for(self, what: Callable[[], bool], seconds: float = 30) -> float:
        """Seconds until `what` is true."""
        start = time.perf_counter()
        while not what():
            assert time.perf_counter() - start < seconds
            time.sleep(0.02)
        return time.perf_counter() - start

    def stop(self) -> int:
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def launch(
    path: Path, *, port: int = 0, faulty: bool = False, **limits: float
) -> subprocess.Popen[str]:
    arguments = [str(path), str(port), "yes" if faulty else "no", json.dumps(limits)]
    return subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


StartServer = Callable[..., RunningServer]


@pytest.fixture(scope="session")
def launch_server() -> Callable[..., subprocess.Popen[str]]:
    """Start the process and do not wait for anything."""
    return launch


def _starter(stack: ExitStack) -> StartServer:
    def start(path: Path, **options: float) -> RunningServer:
        process = launch(path, **options)  # type: ignore[arg-type]

        def end() -> None:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()

        stack.callback(end)
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().strip()
        assert url, process.stderr.read()
        server = RunningServer(process, f"{url}/")
        stack.callback(server.client.close)
        return server

    return start


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """`start_server(bundle, faulty=False, **limits)`; ended after the test."""
    with ExitStack() as stack:
        yield _starter(stack)


@pytest.fixture(scope="module")
def module_server() -> Iterator[StartServer]:
    """The same, ended after the module."""
    with ExitStack() as stack:
        yield _starter(stack)


@pytest.fixture(scope="session")
def server(trapped: Path) -> Iterator[RunningServer]:
    """One server with the default limits, for the tests that do it no harm."""
    with ExitStack() as stack:
        yield _starter(stack)(trapped)


@pytest.fixture(scope="session")
def trapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """red, green, blue; white pictures give NaN, black ones take a good part of a second."""
    return tiny_bundle(tmp_path_factory.mktemp("serve") / "trapped", traps=True)


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like `trapped`, but black pictures take some seconds."""
    folder = tmp_path_factory.mktemp("serve") / "slow"
    return tiny_bundle(folder, traps=True, slow_steps=5_000)


def png(colour: tuple[int, int, int], size: tuple[int, int] = (64, 64)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def green() -> bytes:
    return png((20, 200, 30))


@pytest.fixture(scope="session")
def white() -> bytes:
    return png((255, 255, 255))


@pytest.fixture(scope="session")
def black() -> bytes:
    return png((0, 0, 0))
