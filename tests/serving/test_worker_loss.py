"""The worker dies, hangs or talks nonsense. FAULTS rows 10, 32 and 39."""

from __future__ import annotations

import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from opsin.bundle.load import load_bundle
from opsin.testing.bundles import tiny_bundle

BACK_S = 15.0
"""The fault list says 3 s, for a machine that does nothing else."""
DECODE_S = 1.0


def test_a_killed_worker_is_back_soon(start_server: Any, trapped: Path, green: bytes) -> None:
    server = start_server(trapped)
    old = server.worker_pid()
    os.kill(old, signal.SIGKILL)
    server.wait_for(lambda: server.client.get("/ready").status_code == 503)
    assert server.client.get("/live").status_code == 200
    not_ready = server.client.get("/ready")
    if not_ready.status_code == 503:
        assert not_ready.json()["error"]["code"] == "not_ready"
        assert not_ready.headers["retry-after"] == "1"
    took = server.wait_for(lambda: server.client.get("/ready").status_code == 200)
    assert took < BACK_S
    assert server.metric("opsin_worker_restarts_total") == 1
    assert server.worker_pid() != old
    assert server.predict(green).json()["label"] == "green"


def test_a_request_held_by_a_killed_worker(
    start_server: Any, slow: Path, green: bytes, black: bytes
) -> None:
    server = start_server(slow)
    with ThreadPoolExecutor(2) as pool:
        held = pool.submit(server.predict, black)
        server.wait_for(
            lambda: (
                server.metric("opsin_body_bytes") > 0 and server.metric("opsin_queue_depth") == 0
            )
        )
        waiting = pool.submit(server.predict, green)
        server.wait_for(lambda: server.metric("opsin_queue_depth") == 1)
        os.kill(server.worker_pid(), signal.SIGKILL)
        lost = held.result(20)
        kept = waiting.result(20)
    assert lost.status_code == 503
    assert lost.json()["error"]["code"] == "worker_lost"
    assert int(lost.headers["retry-after"]) >= 1
    assert kept.json()["label"] == "green"
    assert server.metric("opsin_worker_restarts_total") == 1


def test_a_model_that_answers_nan(server: Any, white: bytes, green: bytes) -> None:
    before = server.metric("opsin_worker_restarts_total")
    response = server.predict(white)
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "model_output_invalid"
    assert server.predict(green).status_code == 200
    assert server.metric("opsin_worker_restarts_total") == before


def test_inference_that_does_not_end(
    start_server: Any, slow: Path, green: bytes, black: bytes
) -> None:
    server = start_server(slow, infer_s=0.5)
    response = server.predict(black)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "inference_timeout"
    assert server.predict(green).status_code == 200


@pytest.mark.parametrize("name", ["crash.png", "hang.png"])
def test_a_decoder_that_crashes_or_hangs(
    start_server: Any, trapped: Path, green: bytes, name: str
) -> None:
    server = start_server(trapped, faulty=True, decode_s=DECODE_S)
    with ThreadPoolExecutor(2) as pool:
        bad = pool.submit(server.predict, green, name)
        good = [pool.submit(server.predict, green, "good.png") for _ in range(3)]
        assert [future.result(20).status_code for future in good] == [200] * 3
    response = bad.result()
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "image_undecodable"
    assert response.json()["error"]["field"] == "body.file"
    took = server.wait_for(lambda: server.client.get("/ready").status_code == 200)
    assert took < BACK_S
    assert server.metric("opsin_worker_restarts_total") == 1


@pytest.mark.parametrize("harm", ["damaged", "replaced", "gone"])
def test_the_model_in_service_survives_its_bundle(
    start_server: Any, tmp_path: Path, green: bytes, harm: str
) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    hash_ = load_bundle(bundle).hash
    server = start_server(bundle)
    if harm == "damaged":
        graph = bundle / "model.onnx"
        graph.write_bytes(graph.read_bytes()[:-1] + b"\x00")
    else:
        shutil.rmtree(bundle)
    if harm == "replaced":
        tiny_bundle(bundle, ("one", "two", "three"))
    os.kill(server.worker_pid(), signal.SIGKILL)
    server.wait_for(lambda: server.metric("opsin_worker_restarts_total") == 1)
    answer = server.predict(green).json()
    assert answer["label"] == "green"
    assert answer["bundle_hash"] == hash_


def test_the_worker_ends_with_the_server(
    start_server: Any, trapped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # for what a killed server leaves behind
    server = start_server(trapped)
    pid = server.worker_pid()
    server.process.kill()
    server.process.wait()

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    server.wait_for(gone)


def test_many_deaths_in_a_row(start_server: Any, trapped: Path, green: bytes) -> None:
    server = start_server(trapped, faulty=True)
    codes = {server.predict(green, "crash.png").status_code for _ in range(2)}
    assert codes == {422}
    assert server.predict(green).status_code == 200
    assert server.metric("opsin_worker_restarts_total") == 2
