"""`opsin` alone, installed into an environment of its own: it serves, and it has no torch."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

REPO = Path(__file__).parents[2]
NOT_THERE = {"torch", "torchvision", "timm", "onnx", "scikit-learn", "matplotlib", "captum"}
NO_NETWORK = re.compile(r"dns|connect|timed? ?out|sending request|unreachable", re.IGNORECASE)


class Light:
    """An environment that holds `opsin` and nothing of its extras."""

    def __init__(self, root: Path) -> None:
        self.root = root
        scripts = "Scripts" if os.name == "nt" else "bin"
        self.bin = root / "venv" / scripts
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
        self.environment = {**kept, "NO_COLOR": "1", "COLUMNS": "200"}

    def run(self, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Type `opsin ...` in it and expect this exit code."""
        result = subprocess.run(
            [self.bin / "opsin", *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == code, f"{arguments}\n{result.stdout}\n{result.stderr}"
        return result


def install(light: Light) -> None:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    assert uv, "uv is missing; make install brings it"
    pins = ["--constraints", "constraints.txt", "--build-constraints", "constraints.txt"]
    python = ["--python", str(light.bin / Path(sys.executable).name)]
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(light.bin.parent)],
        [uv, "pip", "install", "--quiet", *python, *pins, "."],
    ):
        result = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
        if result.returncode and NO_NETWORK.search(result.stderr) and not os.environ.get("CI"):
            pytest.skip(f"the package registry is not reachable: {result.stderr.strip()[-300:]}")
        assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Light:
    """The environment, a bundle made in the full one, and a picture."""
    light = Light(tmp_path_factory.mktemp("light"))
    install(light)

    from opsin.testing.bundles import tiny_bundle

    tiny_bundle(light.root / "bundle")
    Image.linear_gradient("L").convert("RGB").resize((90, 60)).save(light.root / "picture.jpg")
    return light


def installed(light: Light) -> set[str]:
    program = "import importlib.metadata as m; print([d.name.lower() for d in m.distributions()])"
    result = subprocess.run(
        [light.bin / Path(sys.executable).name, "-I", "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(re.findall(r"'([^']+)'", result.stdout))


def test_it_holds_what_serves_and_nothing_that_trains(light: Light) -> None:
    names = installed(light)
    assert {"opsin", "onnxruntime", "fastapi", "typer"} <= names
    assert not names & NOT_THERE


def test_predict(light: Light) -> None:
    said = light.run("predict", "bundle", "picture.jpg", "--json").stdout
    (row,) = json.loads(said)["predictions"]
    assert row["label"]
    assert 0 < row["probability"] <= 1
    assert "picture.jpg" in light.run("predict", "bundle", "picture.jpg").stdout


def test_verify_accepts_the_bundle_and_refuses_a_flipped_bit(light: Light) -> None:
    light.run("verify", "bundle")
    damaged = light.root / "damaged"
    shutil.copytree(light.root / "bundle", damaged)
    graph = bytearray((damaged / "model.onnx").read_bytes())
    graph[len(graph) // 2] ^= 1
    (damaged / "model.onnx").write_bytes(graph)
    assert "SHA-256" in light.run("verify", "damaged", code=4).stderr


def test_doctor(light: Light) -> None:
    assert "onnxruntime" in light.run("doctor").stdout


@pytest.mark.parametrize("verb", ["train", "export"])
def test_a_verb_that_lacks_its_part_says_what_to_install(light: Light, verb: str) -> None:
    (light.root / "photos" / "a").mkdir(parents=True, exist_ok=True)
    arguments = ["photos"] if verb == "train" else ["timm:resnet18", "-o", "out"]
    said = light.run(verb, *arguments, code=2).stderr
    assert 'pip install "opsin[train]"' in said
    assert "Traceback" not in said


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to answer")
def test_serve_answers_and_stops_when_told(light: Light) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    log = light.root / "serve.log"
    with log.open("w", encoding="utf-8") as said:
        process = subprocess.Popen(
            [light.bin / "opsin", "serve", "bundle", "--port", str(port)],
            cwd=light.root,
            env=light.environment,
            stdout=said,
            stderr=said,
        )
    try:
        deadline = time.monotonic() + 30
        while ask(port, "/ready")[0] != 200:
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.05)
        status, body = ask(port, "/predict", (light.root / "picture.jpg").read_bytes())
        assert status == 200, body
        assert json.loads(body)["label"]
        status, page = ask(port, "/")
        assert status == 200
        assert b"<html" in page
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) in (0, 143)
    finally:
        process.kill()
        process.wait()


def ask(port: int, path: str, picture: bytes | None = None) -> tuple[int, bytes]:
    """Status and body; status 0 when nobody listens yet."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", picture, {"Content-Type": "image/jpeg"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except (urllib.error.URLError, ConnectionError):
        return 0, b""
