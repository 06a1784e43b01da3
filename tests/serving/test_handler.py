"""The service without a web framework, and the waiting line by itself."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from opsin.core.errors import ModelRefused, OpsinError, WrongUsage
from opsin.core.isolated import WorkerLost, WorkerTimeout
from opsin.data.decode import Undecodable
from opsin.serving.handler import Service, explained
from opsin.serving.hosts import Hosts
from opsin.serving.limits import ServeLimits
from opsin.serving.line import Line, Ticket
from opsin.serving.refusal import Refusal
from opsin.testing.bundles import tiny_bundle


def test_a_service_in_this_process(trapped: Path, green: bytes, white: bytes) -> None:
    with Service(trapped, threads=1) as service:
        assert service.ready
        assert service.info is not None
        assert service.info.classes == ("red", "green", "blue")
        prediction = service.predict(green, "a.jpg")
        assert prediction.probabilities[1] == max(prediction.probabilities)
        assert prediction.notes == (("extension_mismatch", "extension_mismatch: looks like PNG"),)
        with pytest.raises(Refusal) as refused:
            service.predict(white)
        assert (refused.value.status, refused.value.code) == (500, "model_output_invalid")
        pid = service.worker_pid
    assert not service.ready
    assert pid is not None
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(Refusal, match="no worker"):
        service.predict(green)


def test_stopping_finishes_what_waits(trapped: Path, green: bytes) -> None:
    service = Service(trapped, threads=1)
    service.start()
    jobs = [service.submit(green) for _ in range(8)]
    service.stop()
    assert all(job.future.result(0).probabilities[1] > 0.5 for job in jobs)


def test_aborting_refuses_what_waits(trapped: Path, black: bytes) -> None:
    service = Service(trapped, threads=1)
    service.start()
    jobs = [service.submit(black) for _ in range(3)]
    service.abort()
    codes = {getattr(job.future.exception(0), "code", "") for job in jobs}
    assert codes <= {"worker_lost", "image_undecodable"}
    service.abort()  # once more does no harm


def test_a_cancelled_job_is_not_done(trapped: Path, green: bytes, black: bytes) -> None:
    with Service(trapped, threads=1) as service:
        busy = service.submit(black)
        waiting = service.submit(green)
        service.cancel(waiting)
        assert waiting.future.cancelled()
        assert service.cancelled == 1
        assert busy.future.result(30).probabilities
        assert service.predict(green)


def test_a_client_that_goes_during_decoding_costs_no_inference(
    trapped: Path, green: bytes, black: bytes
) -> None:
    with Service(trapped, threads=1) as service:
        service.submit(black)
        job = service.submit(green)
        job.abandoned = True
        assert isinstance(job.future.exception(30), Refusal)
        assert service.cancelled == 1


def test_before_the_first_worker_is_ready(trapped: Path, green: bytes) -> None:
    service = Service(trapped)
    try:
        with pytest.raises(Refusal) as refused:
            service.submit(green)
        assert refused.value.status == 503
        assert refused.value.retry_after_s == 1
    finally:
        service.stop()


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (WorkerTimeout(stage="decode", timeout_s=5), 422, "image_undecodable"),
        (WorkerLost(stage="decode", returncode=-11), 422, "image_undecodable"),
        (WorkerTimeout(stage="infer", timeout_s=30), 503, "inference_timeout"),
        (WorkerLost(stage="infer", returncode=-9), 503, "worker_lost"),
        *(
            (error, 503, "worker_lost")
            for stage in ("start", "load", "golden samples", "")
            for error in (
                WorkerTimeout(stage=stage, timeout_s=60),
                WorkerLost(stage=stage, returncode=-9),
            )
        ),
    ],
)
def test_only_the_decoder_blames_the_picture(error: OpsinError, status: int, code: str) -> None:
    refusal = explained(error, ServeLimits())
    assert (refusal.status, refusal.code) == (status, code)


def test_a_worker_lost_between_two_requests_cannot_start_again(
    trapped: Path, green: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it says of its own start is not said of the picture."""
    with Service(trapped, threads=1) as service:

        def start() -> None:
            raise Undecodable("a golden sample", code="truncated")

        monkeypatch.setattr(service._worker, "start", start)
        with pytest.raises(Refusal) as refused:
            service.predict(green)
        assert (refused.value.status, refused.value.code) == (503, "worker_lost")
        monkeypatch.undo()


def test_a_worker_lost_between_decoding_and_inference(
    trapped: Path, green: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Service(trapped, threads=1) as service:
        call = service._call

        def lose(header: dict[str, Any], payload: bytes, timeout_s: float) -> dict[str, Any]:
            answer = call(header, payload, timeout_s)
            service._worker.kill()
            return answer

        monkeypatch.setattr(service, "_call", lose)
        with pytest.raises(Refusal) as refused:
            service.predict(green)
        assert (refused.value.status, refused.value.code) == (503, "worker_lost")


def test_a_damaged_bundle(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    (bundle / "model.onnx").write_bytes(b"\x08")
    service = Service(bundle)
    try:
        with pytest.raises(ModelRefused) as refused:
            service.start()
        assert refused.value.where == str(bundle / "model.onnx")
    finally:
        service.stop()
    with pytest.raises(WrongUsage):
        Service(tmp_path / "nothing")


def test_the_line_is_bounded_and_in_order() -> None:
    line = Line(ServeLimits(queue=2))
    first, second = Ticket(b"1", ""), Ticket(b"2", "")
    line.put(first)
    line.put(second)
    with pytest.raises(Refusal) as refused:
        line.put(Ticket(b"3", ""))
    assert (refused.value.status, refused.value.retry_after_s) == (429, 1)
    line.cancel(first)
    assert first.future.cancelled()
    assert line.take(0) is second
    assert line.take(0) is None


def test_the_hint_grows_with_line_and_duration() -> None:
    line = Line(ServeLimits(queue=100, max_wait_s=1000))
    line.note_duration(2.0)
    for _ in range(5):
        line.put(Ticket(b"", ""))
    assert line.retry_after_s() == 10
    for _ in range(95):
        line.put(Ticket(b"", ""))
    assert line.retry_after_s() == 60


def test_who_would_wait_too_long_is_refused() -> None:
    line = Line(ServeLimits(queue=100, max_wait_s=3))
    line.note_duration(2.0)
    line.put(Ticket(b"", ""))
    line.put(Ticket(b"", ""))
    with pytest.raises(Refusal):
        line.put(Ticket(b"", ""))


def test_taking_wakes_up_when_a_job_comes() -> None:
    line = Line(ServeLimits())
    threading.Timer(0.05, line.put, [Ticket(b"1", "")]).start()
    start = time.perf_counter()
    assert line.take(20) is not None
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    ("bound", "arrived", "host", "good"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1:8000", True),
        ("0.0.0.0", "192.168.1.7", "192.168.1.7:8000", True),
        ("0.0.0.0", "192.168.1.7", "192.168.1.8:8000", False),
        ("0.0.0.0", "192.168.1.7", "0.0.0.0", False),
        ("model.lan", "10.0.0.2", "model.lan", True),
        ("model.lan", "10.0.0.2", "model.lan.", True),
        ("127.0.0.1", "127.0.0.1", "user@localhost", False),
        ("127.0.0.1", "127.0.0.1", "localhost/x", False),
        ("127.0.0.1", "127.0.0.1", "localhost:x", False),
    ],
)
def test_hosts(bound: str, arrived: str, host: str, good: bool) -> None:
    hosts = Hosts(bound)
    if good:
        hosts.check(host, None, arrived)
    else:
        with pytest.raises(Refusal) as refused:
            hosts.check(host, None, arrived)
        assert refused.value.status == 421
