"""How long the service takes to be ready, and one request at a time, beside `GET /live`.

python benchmarks/serving.py [--requests 300] [--bundle FOLDER] [--side 64]
"""

from __future__ import annotations

import argparse
import http.client
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from processes import OPSIN, PYTHON, make_bundle, make_photo, timed


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--bundle", type=Path, help="a bundle or run; else a small one is made")
    parser.add_argument("--side", type=int, default=64, help="of the picture sent, in pixels")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        bundle, photo = options.bundle, Path(temporary, "photo.jpg")
        if bundle is None:
            bundle = Path(temporary, "bundle")
            make_bundle(bundle)
        make_photo(photo, options.side, options.side)
        python_s = statistics.median(timed([*PYTHON, "-c", "pass"])[0] for _ in range(5))
        port = free_port()
        started = time.perf_counter()
        process = subprocess.Popen(
            [*OPSIN, "serve", str(bundle), "--port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not is_ready(port):
                if process.poll() is not None:
                    raise SystemExit(f"opsin serve ended with {process.returncode}")
                time.sleep(0.01)
            ready_s = time.perf_counter() - started
            live_ms, predict_ms = requests(port, photo.read_bytes(), options.requests)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    print(f"ready after {ready_s:.2f} s ({ready_s / python_s:.0f} x python -c pass)")
    live, p50 = statistics.median(live_ms), statistics.median(predict_ms)
    p99 = statistics.quantiles(predict_ms, n=100)[98]
    print(f"GET /live            p50 {live:7.2f} ms")
    print(
        f"POST /predict, {options.side} px  p50 {p50:7.2f} ms  p99 {p99:7.2f} ms"
        f"  ({p50 / live:.1f} x GET /live)"
    )


def requests(port: int, picture: bytes, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds of `count` requests of each kind in turn, on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    live_ms: list[float] = []
    predict_ms: list[float] = []
    for number in range(count + 10):
        live = ask(connection, "GET", "/live", None)
        predict = ask(connection, "POST", "/predict", picture)
        if number >= 10:
            live_ms.append(live)
            predict_ms.append(predict)
    connection.close()
    return live_ms, predict_ms


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None
) -> float:
    """Milliseconds until the whole answer is here; it must be 200."""
    started = time.perf_counter()
    connection.request(method, path, body, {"Content-Type": "image/jpeg"} if body else {})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{method} {path}: {answer.status} {text[:300]!r}")
    return (time.perf_counter() - started) * 1e3


def is_ready(port: int) -> bool:
    """Whether `/ready` answers 200 by now."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def free_port() -> int:
    """A port of loopback that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


if __name__ == "__main__":
    main()
