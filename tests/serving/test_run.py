"""Starting and stopping the whole process: exit codes, signals, what is left behind."""

from __future__ import annotations

import errno
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

import httpx
import pytest

from opsin.core.errors import Locked, ModelRefused, NoRoom, WrongUsage
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


def test_listening_never_shares_a_port_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """There SO_REUSEADDR lets a second server take it; elsewhere a restart needs it."""
    with listen("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) != 0
    with monkeypatch.context() as windows:
        windows.setattr(os, "name", "nt")
        listener = listen("127.0.0.1", 0)
    with listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
        assert not listener.getblocking()


def test_a_bundle_that_cannot_be_read_or_copied(
    trapped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader's fault and the disk's are told apart, and nothing is left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    opened = Path.open

    def refuse(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if path == trapped / "labels.json":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, mode, *args, **kwargs)

    def full(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if "x" in mode:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return opened(path, mode, *args, **kwargs)

    with monkeypatch.context() as context:
        context.setattr(Path, "open", refuse)
        with pytest.raises(ModelRefused) as unreadable:
            Snapshot(trapped)
    assert unreadable.value.code == "unreadable"
    assert unreadable.value.where == str(trapped / "labels.json")
    with monkeypatch.context() as context:
        context.setattr(Path, "open", full)
        with pytest.raises(NoRoom, match="set TMPDIR") as no_room:
            Snapshot(trapped)
    assert no_room.value.code == "disk_full"
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_before_the_model_is_loaded(
    launch_server: Any,
    trapped: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    code: int,
) -> None:
    """Nothing is in hand, so it ends at once, without a word."""
    brake = tmp_path / "brake"
    brake.touch()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("OPSIN_TEST_BRAKE", str(brake))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = launch_server(trapped, port=port)
    until = time.monotonic() + 30
    while time.monotonic() < until:  # until the web server answers, so that it can be told
        try:
            if httpx.get(f"http://127.0.0.1:{port}/live", trust_env=False).status_code == 200:
                break
        except httpx.TransportError:
            time.sleep(0.1)
    assert httpx.get(f"http://127.0.0.1:{port}/ready", trust_env=False).status_code == 503
    process.send_signal(number)
    assert end_of(process) == (code, "", "")
    assert list((tmp_path / "temporary").iterdir()) == []


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
