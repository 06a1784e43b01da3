"""`--pretrained` through the hub's real client, against a server of our own on loopback."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

REPOSITORY = "timm/test_resnet.r160_in1k"
MODEL = "timm:test_resnet"
CODE = """
import sys, timm, torch
from pathlib import Path
from opsin.core.errors import OpsinError
from opsin.models.build import build, design, find_origin
try:
    origin = find_origin("timm:test_resnet", pretrained=True)
except OpsinError as error:
    sys.exit(f"{error.code}: {error}")
plan = design("timm:test_resnet", origin)
model = build(plan, origin, 3, seed=0)
print(float(next(model.backbone.parameters()).detach().sum()), plan.spec.crop_frac)
"""


@pytest.fixture
def weights(tmp_path: Path) -> bytes:
    import timm
    from safetensors.torch import save

    model = timm.create_model("test_resnet")
    return save({k: v.fill_(0.25) if v.is_floating_point() else v
                 for k, v in model.state_dict().items()})  # fmt: skip


@pytest.fixture
def server(weights: bytes) -> Iterator[tuple[str, list[str]]]:
    """A hub with one file; it notes what was asked for."""
    asked: list[str] = []
    digest = hashlib.sha256(weights).hexdigest()

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            asked.append(self.path)
            found = self.path == f"/{REPOSITORY}/resolve/main/model.safetensors"
            data = weights if found else json.dumps({"error": "not found"}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(data)))
            if found:
                self.send_header("ETag", f'"{digest}"')
                self.send_header("X-Repo-Commit", "a" * 40)
            else:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    hub = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{hub.server_port}", asked
    hub.shutdown()
    hub.server_close()
    thread.join()


def ask(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-c", CODE],
        env=os.environ | {"HF_HOME": str(tmp_path / "hf")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_downloaded_once_then_offline(tmp_path: Path, server: tuple[str, list[str]]) -> None:
    address, asked = server
    first = ask(tmp_path, HF_ENDPOINT=address)
    assert first.returncode == 0, first.stderr
    assert any(path.endswith("model.safetensors") for path in asked)
    assert not any(path.endswith(".bin") for path in asked), "never a pickle"
    count = len(asked)
    again = ask(tmp_path, HF_ENDPOINT=address, HF_HUB_OFFLINE="1")
    assert again.stdout == first.stdout != ""
    assert len(asked) == count


def test_offline_without_a_copy_is_explained(tmp_path: Path) -> None:
    done = ask(tmp_path, HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert "no_network" in done.stderr
    assert "--weights FILE.safetensors" in done.stderr
