"""Starting and stopping the whole process: exit codes, signals, what is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from opsin.core.errors import Locked, WrongUsage
from opsin.serving.run import listen
from opsin.serving.snapshot import Snapshot
from opsin.testing.bundles import tiny_bundle


def end_of(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("file", ["model.onnx", "model.safetensors", "labels.json"])
def test_a_flipped_bit_is_refused(launch_server: Any, tmp_path: Path, file: str) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    flip(bundle / file)
    code, out, err = end_of(launch_server(bundle))
    assert code == 4
    assert out == ""
    assert f"{file}: SHA-256 is" in err
    assert str(bundle / file) in err, "the person's own file is named, not our copy"
    assert "Traceback" not in err


def test_a_link_out_of_the_bundle_is_refused(launch_server: Any, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    (bundle / "labels.json").rename(tmp_path / "labels.json")
    (bundle / "labels.json").symlink_to(tmp_path / "labels.json")
    code, _, err = end_of(launch_server(bundle))
    assert code == 4
    assert "labels.json" in err


def test_a_bundle_that_is_not_there(launch_server: Any, tmp_path: Path) -> None:
    code, _, err = end_of(launch_server(tmp_path / "nothing"))
    assert code == 2
    assert "no such run or bundle" in err


def test_a_port_in_use(launch_server: Any, trapped: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, out, err = end_of(launch_server(trapped, port=port))
    assert code == 8
    assert out == ""
    assert f"port {port} is in use" in err
    assert f"--port {port + 1}" in err


def test_listen() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(Locked, match="in use"):
            listen("127.0.0.1", port)
    for host, port in (("no-such-host.invalid", 0), ("192.0.2.1", 0), ("127.0.0.1", 70_000)):
        with pytest.raises(WrongUsage):
            listen(host, port)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_lets_the_request_in_hand_be_finished(
    start_server: Any, slow: Path, black: bytes, green: bytes, number: signal.Signals, code: int
) -> None:
    server = start_server(slow)
    with ThreadPoolExecutor(2) as pool:
        in_hand = pool.submit(server.predict, black)
        server.wait_for(
            lambda: (
                server.metric("opsin_body_bytes") > 0 and server.metric("opsin_queue_depth") == 0
            )
        )
        in_line = pool.submit(server.predict, green)
        server.wait_for(lambda: server.metric("opsin_queue_depth") == 1)
        server.process.send_signal(number)
        assert in_hand.result(40).status_code == 200
        assert in_line.result(40).json()["label"] == "green"
    assert server.process.wait(20) == code
    assert server.process.stderr.read() == ""


def test_a_second_signal_does_not_wait(start_server: Any, slow: Path, black: bytes) -> None:
    server = start_server(slow, infer_s=300)
    with server.connect() as connection:
        request = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(black)}\r\n"
        connection.sendall(request.encode() + b"\r\n" + black)
        server.wait_for(lambda: server.metric("opsin_body_bytes") > 0)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 143


def test_nothing_is_left_behind(launch_server: Any, trapped: Path, tmp_path: Path) -> None:
    script = (
        "import os, signal, sys, tempfile\n"
        "from pathlib import Path\n"
        "tempfile.tempdir = sys.argv[2]\n"
        "from opsin.serving.run import serve\n"
        "stop = lambda url: os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.exit(serve(Path(sys.argv[1]), port=0, on_ready=stop))\n"
    )
    code = subprocess.run(
        [sys.executable, "-c", script, str(trapped), str(tmp_path)], timeout=60, check=False
    ).returncode
    assert code == 143
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_server_left_is_removed_by_the_next(
    trapped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    script = (
        "import os, sys, tempfile\n"
        "from pathlib import Path\n"
        "tempfile.tempdir = sys.argv[2]\n"
        "from opsin.serving.snapshot import Snapshot\n"
        "snapshot = Snapshot(Path(sys.argv[1]))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(trapped), str(tmp_path)], timeout=60, check=False
    )
    (left,) = tmp_path.iterdir()
    in_use = Snapshot(trapped)
    strange = tmp_path / "opsin-serve-not-ours"
    strange.mkdir()
    for folder in tmp_path.iterdir():
        os.utime(folder, (0, 0))
    with_time = Snapshot(trapped)
    assert not left.exists()
    assert in_use.path.is_dir()
    assert strange.is_dir()
    in_use.close()
    with_time.close()
    assert list(tmp_path.iterdir()) == [strange]


def test_no_torch_in_the_server() -> None:
    script = (
        "import sys, opsin.serving.run, opsin.serving.http\n"
        "import opsin.serving.worker, opsin.serving.protocol\n"
        "heavy = {'torch', 'torchvision', 'matplotlib', 'onnx', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr


def test_only_one_file_knows_the_web_framework() -> None:
    import opsin.serving

    folder = Path(next(iter(opsin.serving.__path__)))
    knows = {f.name for f in folder.glob("*.py") if "from fastapi" in f.read_text()}
    assert knows == {"http.py"}
