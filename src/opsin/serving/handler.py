"""`Service`: pictures in, predictions out; no web framework.

One thread stands between the waiting line and the worker process. It starts the worker, replaces
it as soon as it is lost (also when nothing is asked), and hands it one picture at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from opsin.core.errors import OpsinError
from opsin.core.isolated import IsolatedWorker, WorkerLost, WorkerTimeout
from opsin.serving.limits import ServeLimits
from opsin.serving.line import Line, Outcome, Ticket
from opsin.serving.refusal import (
    Refusal,
    inference_timeout,
    internal_error,
    not_ready,
    refusal_of,
    undecodable,
    worker_lost,
)
from opsin.serving.snapshot import Snapshot

WORKER = "opsin.serving.worker:factory"
_LOOK_AFTER_WORKER_S = 0.1
_RETRY_START_S = 0.5
_DESCRIBE_S = 10.0

log = logging.getLogger("opsin.serving")


@dataclass(frozen=True)
class ModelInfo:
    """The model in service."""

    name: str
    task: str
    parameters: int
    created: str
    classes: tuple[str, ...]
    size_px: tuple[int, int]
    bundle_hash: str
    golden_samples: int


class Service:
    """The model of one bundle, in service.

        with Service(Path("runs/latest")) as service:
            prediction = service.predict(Path("cat.jpg").read_bytes())

    `threads`: of onnxruntime, 0 for all cores. Raises `WrongUsage`, `NoRoom`, or `ModelRefused`
    for a bundle with missing or unreadable files, at once; what is wrong with their contents
    arrives in the future that `launch` returns.
    """

    def __init__(self, path: Path, *, threads: int = 0, limits: ServeLimits | None = None) -> None:
        self.limits = limits or ServeLimits()
        self.info: ModelInfo | None = None
        self.line = Line(self.limits)
        self.cancelled = 0
        """Requests whose client had gone before inference."""
        self._snapshot = Snapshot(path)
        self._worker = IsolatedWorker(
            WORKER,
            {
                "bundle": str(self._snapshot.path),
                "hash": "",
                "threads": threads,
                "max_pixels": self.limits.max_pixels,
                "quiet": True,
            },
        )
        self._up = False
        self._stopping = threading.Event()
        self._first: Future[ModelInfo] = Future()
        self._thread = threading.Thread(target=self._live, name="opsin-serve", daemon=True)

    def launch(self) -> Future[ModelInfo]:
        """Start the worker and return at once. The future gets the model when the golden samples
        gave the recorded answers, or the `OpsinError` that says why not.
        """
        # who waits for it may stop waiting, but must not cancel it
        self._first.set_running_or_notify_cancel()
        self._thread.start()
        return self._first

    def start(self) -> ModelInfo:
        """`launch`, and wait. Raises `ModelRefused`, `NumbersWrong`."""
        return self.launch().result()

    @property
    def ready(self) -> bool:
        """Whether a worker that gave the recorded answers is running."""
        return self._up and self._worker.pid is not None

    @property
    def worker_pid(self) -> int | None:
        """The process that decodes and infers, None while there is none."""
        return self._worker.pid

    @property
    def restarts(self) -> int:
        """How often a lost worker was replaced."""
        return self._worker.restarts

    def check_room(self) -> None:
        """Raise now what `submit` would raise, before a body is read for nothing."""
        if self.info is None or self._stopping.is_set():
            raise not_ready()
        self.line.check_room()

    def submit(self, data: bytes, name: str = "") -> Ticket:
        """Put a picture's bytes in line; `ticket.future` gets the `Outcome`, or a `Refusal`.

        Raises `Refusal`: 429 when too many wait, 503 before the first worker is ready. While a
        lost worker is being replaced, they wait.
        """
        self.check_room()
        ticket = Ticket(data, name)
        self.line.put(ticket)
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """The client has gone."""
        if self.line.cancel(ticket):
            self.cancelled += 1

    def predict(self, data: bytes, name: str = "") -> Outcome:
        """`submit`, and wait. Raises `Refusal`."""
        return self.submit(data, name).future.result()

    def stop(self) -> None:
        """Finish what is in line, then end the worker and remove the copy of the bundle."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._worker.close()
        self._snapshot.close()

    def abort(self) -> None:
        """`stop` without finishing anything, also while the first worker starts."""
        self._stopping.set()
        while True:
            self.line.refuse_all(worker_lost())
            self._worker.kill()
            if not self._thread.is_alive():
                break
            self._thread.join(_LOOK_AFTER_WORKER_S)
        self.stop()

    def __enter__(self) -> Service:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # --- the thread ---

    def _live(self) -> None:
        try:
            info = self._start_worker()
        except OpsinError as error:
            self._first.set_exception(self._snapshot.explain(error))
            return
        except BaseException as error:
            self._first.set_exception(error)
            return
        # from now on only this very bundle will do
        self._worker.config["hash"] = info.bundle_hash
        self.info = info
        self._first.set_result(info)
        while not self._stopping.is_set() or len(self.line):
            ticket = self.line.take(_LOOK_AFTER_WORKER_S)
            if self._worker.pid is None:
                self._replace_worker()
            if ticket is not None:
                self._answer(ticket)

    def _start_worker(self) -> ModelInfo:
        self._worker.start()
        found, _ = self._worker.call({"do": "describe"}, timeout_s=_DESCRIBE_S)
        self._up = True
        return ModelInfo(
            **{
                **found,
                "classes": tuple(found["classes"]),
                "size_px": tuple(found["size_px"]),
            }
        )

    def _replace_worker(self) -> None:
        """Try until there is one again; nobody is kept waiting for a worker that cannot start."""
        self._up = False
        log.warning("there is no worker process; starting a new one")
        while not self._stopping.is_set():
            try:
                self._start_worker()
                return
            except OpsinError as error:
                log.error("the worker cannot be started: %s", self._snapshot.explain(error))
                self.line.refuse_all(worker_lost())
            self._stopping.wait(_RETRY_START_S)

    def _answer(self, ticket: Ticket) -> None:
        if not ticket.future.set_running_or_notify_cancel():
            self.cancelled += 1
            return
        start = time.perf_counter()
        try:
            prediction = self._decode_and_infer(ticket)
        except OpsinError as error:
            ticket.future.set_exception(explained(error, self.limits))
        except Exception as error:  # the thread must outlive whatever one request does
            log.exception("internal error")
            ticket.future.set_exception(internal_error().with_traceback(error.__traceback__))
        else:
            ticket.future.set_result(prediction)
        finally:
            self.line.note_duration(time.perf_counter() - start)

    def _decode_and_infer(self, ticket: Ticket) -> Outcome:
        start = time.perf_counter()
        try:
            self._worker.start()  # nothing to do, unless it was lost a moment ago
        except OpsinError as error:
            log.error("the worker cannot be started: %s", self._snapshot.explain(error))
            raise worker_lost() from error
        decode = {"do": "decode", "name": ticket.name}
        picture = self._call(decode, ticket.data, self.limits.decode_s)
        if ticket.abandoned:
            self.cancelled += 1
            raise worker_lost()  # which nobody will read
        result = self._call({"do": "infer"}, b"", self.limits.infer_s)
        now = time.perf_counter()
        return Outcome(
            probabilities=tuple(result["probabilities"]),
            format=picture["format"],
            width_px=picture["width_px"],
            height_px=picture["height_px"],
            notes=tuple((code, text) for code, text in picture["notes"]),
            timings_ms={
                "queue": (start - ticket.queued_at) * 1000,
                "decode": picture["decode_ms"],
                "prepare": result["prepare_ms"],
                "infer": result["infer_ms"],
                "total": (now - ticket.queued_at) * 1000,
            },
        )

    def _call(self, header: dict[str, Any], payload: bytes, timeout_s: float) -> dict[str, Any]:
        answer, _ = self._worker.call(header, payload, timeout_s=timeout_s)
        return answer


def explained(error: OpsinError, limits: ServeLimits) -> Refusal:
    """The answer to a request whose worker raised `error` or was lost.

    The picture is at fault only where the decoder had it in hand; a worker that is lost while it
    starts, loads the model or replays the golden samples says nothing of the picture.
    """
    if isinstance(error, WorkerTimeout | WorkerLost):
        log.warning("%s", error)
        if error.stage == "decode":
            return undecodable(limits.decode_s)
        if error.stage == "infer" and isinstance(error, WorkerTimeout):
            return inference_timeout(limits.infer_s)
        return worker_lost()
    refusal = refusal_of(error)
    if refusal.code == "internal":
        log.error("the worker failed: %s", error)
    return refusal
