"""A function in a process of its own, whose death is an answer.

    with IsolatedWorker("opsin.data.scan_worker:factory", {"min_side_px": 8}) as worker:
        header, payload = worker.call({"path": "cat.jpg"}, timeout_s=5)

The target is a factory: `(config) -> function`, the function `(header, payload) -> (header,
payload)`, headers being JSON objects and payloads bytes. What the function raises arrives here as
it was when it is an `OpsinError`, else as `WorkerFault`. When the process dies, `call` raises
`WorkerLost`; when it takes too long it is killed and `call` raises `WorkerTimeout`; the next call
starts a new one.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

from opsin.core.error_frames import error_from, error_to
from opsin.core.errors import OpsinError
from opsin.core.frames import BrokenFrame, read_frame, write_frame
from opsin.core.process_limits import limit_memory, no_core_dump

Function = Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]

# Not `-m`, which would give the child two copies of this module; `-P`, because a `json.py` in the
# folder where a person happens to stand must not be imported.
_BOOT = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from opsin.core.isolated import child_main; child_main(sys.argv[2])"
)
_ROOT = str(Path(__file__).resolve().parents[2])


class WorkerLost(OpsinError):
    """The process died in the middle of a call.

    `stage`: the last one it reported, "start" before it was ready, or ""; `signal`: the number
    of the signal that ended it, or None; `status`: its exit status otherwise, or None.
    """

    default_code = "worker_lost"

    def __init__(self, *, stage: str, returncode: int | None) -> None:
        self.stage = stage
        self.signal = -returncode if returncode is not None and returncode < 0 else None
        self.status = returncode if self.signal is None else None
        how = f"by {_signal_name(self.signal)}" if self.signal else f"with status {self.status}"
        super().__init__(f"the worker process ended {how}{_during(stage)}")


class WorkerTimeout(OpsinError):
    """The call took longer than `timeout_s`; the process was killed. `stage` as in `WorkerLost`."""

    default_code = "worker_timeout"

    def __init__(self, *, stage: str, timeout_s: float) -> None:
        self.stage = stage
        self.timeout_s = timeout_s
        super().__init__(f"no answer within {timeout_s:g} s{_during(stage)}; the worker was killed")


class WorkerFault(OpsinError):
    """The function raised something that is not an `OpsinError`; the process lives on.

    `type_name` is the class of what it raised.
    """

    default_code = "worker_fault"

    def __init__(self, type_name: str, text: str) -> None:
        self.type_name = type_name
        super().__init__(f"{type_name}: {text}")


class IsolatedWorker:
    """One child process that runs the function made by `target`, "module:factory".

    `config` (a JSON object) is given to the factory. Two of its keys are obeyed by the worker
    itself: `memory_limit_bytes` (address space, where the system can limit it) and `quiet`
    (whatever the child writes to stderr is dropped: C libraries talk there about broken files).

    One call at a time: calls from several threads wait for each other. `kill` may come from any
    thread. The child ignores Ctrl-C and SIGTERM, since the parent decides when to stop, and ends
    when the parent closes the pipe or dies.
    """

    def __init__(
        self, target: str, config: dict[str, Any] | None = None, *, start_timeout_s: float = 60
    ) -> None:
        self.target = target
        self.config = dict(config or {})
        self.start_timeout_s = start_timeout_s
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._starts = 0
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process id of the child, None when there is none at the moment."""
        child = self._child
        return child.process.pid if child and child.usable() else None

    @property
    def restarts(self) -> int:
        """How often a lost child was replaced."""
        return max(0, self._starts - 1)

    @property
    def stage(self) -> str:
        """What the child last said that it was doing; for other threads to look at."""
        child = self._child
        return child.stage if child else ""

    def start(self) -> None:
        """Start the child and wait until its factory is through, if it is not running.

        Raises what the factory raises, `WorkerLost` or `WorkerTimeout`.
        """
        with self._lock:
            self._ready_child()

    def call(
        self, header: dict[str, Any], payload: bytes = b"", *, timeout_s: float
    ) -> tuple[dict[str, Any], bytes]:
        """What the function answers to `header` and `payload`.

        `timeout_s` counts from when the child is ready. Raises `WorkerLost`, `WorkerTimeout`,
        `WorkerFault`, or the `OpsinError` that the function raised.
        """
        with self._lock:
            child = self._ready_child()
            child.stage = ""
            return child.exchange(header, payload, timeout_s)

    def kill(self) -> None:
        """End the child at once, from any thread; a call in progress raises `WorkerLost`."""
        child = self._child
        if child:
            child.kill()

    def close(self) -> None:
        """End the child for good; a call in progress is cut off."""
        self._closed = True
        self.kill()
        with self._lock:
            if self._child:
                self._child.end()
                self._child = None

    def __enter__(self) -> IsolatedWorker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ready_child(self) -> _Child:
        if self._closed:
            raise ValueError("this worker was closed")
        if self._child and self._child.usable():
            return self._child
        if self._child:
            self._child.end()
        self._child = child = _Child(self.target, quiet=bool(self.config.get("quiet")))
        self._starts += 1
        try:
            child.exchange({"config": self.config}, b"", self.start_timeout_s)
        except BaseException:
            child.end()
            self._child = None
            raise
        return child


class _Child:
    """One life of the process, with its two pipes."""

    def __init__(self, target: str, *, quiet: bool) -> None:
        self.stage = "start"
        self._lost = False
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT, _ROOT, target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            # a Ctrl-C at the terminal must not reach the child before it can ignore it
            start_new_session=True,
        )

    def usable(self) -> bool:
        return not self._lost and self.process.poll() is None

    def kill(self) -> None:
        self._lost = True  # it takes a moment to die, in which it must not be given a call
        self.process.kill()

    def exchange(
        self, header: dict[str, Any], payload: bytes, timeout_s: float
    ) -> tuple[dict[str, Any], bytes]:
        """Send one frame and wait for its answer; raises what `IsolatedWorker.call` raises."""
        late = done = False
        deciding = threading.Lock()

        def on_timeout() -> None:
            nonlocal late
            with deciding:
                if not done:
                    late = True
                    self.kill()

        # The clock stands beside the pipe, not in it: reading with a timeout is not the same on
        # every system, and writing can hang as well.
        clock = threading.Timer(timeout_s, on_timeout)
        clock.daemon = True
        clock.start()
        try:
            answer = self._exchange(header, payload)
        except BaseException:
            self.kill()  # in the middle of a talk, nothing can be reused
            raise
        finally:
            with deciding:
                done = True
            clock.cancel()
            clock.join()  # at most as long as a kill takes; no thread outlives the call
        if answer is None:
            self.kill()
            returncode = self.process.wait()
            if late:
                raise WorkerTimeout(stage=self.stage, timeout_s=timeout_s)
            raise WorkerLost(stage=self.stage, returncode=returncode)
        answer_header, answer_payload = answer
        if answer_header["kind"] == "error":
            raise error_from(answer_header) or WorkerFault(
                str(answer_header.get("class")), str(answer_header.get("message"))
            )
        return answer_header["header"], answer_payload

    def _exchange(
        self, header: dict[str, Any], payload: bytes
    ) -> tuple[dict[str, Any], bytes] | None:
        """The answer, or None when the child will not give one."""
        stdin, stdout = cast(BinaryIO, self.process.stdin), cast(BinaryIO, self.process.stdout)
        with contextlib.suppress(OSError):  # it may have died with a last word on the other pipe
            write_frame(stdin, header, payload)
        while True:
            try:
                frame = read_frame(stdout)
            except (BrokenFrame, OSError):
                frame = None
            if frame is None:
                self._let_die()
                return None
            kind = frame[0].get("kind")
            if kind == "stage":
                self.stage = str(frame[0].get("stage", ""))
            elif kind == "error" or (kind == "result" and isinstance(frame[0].get("header"), dict)):
                return frame
            else:
                return None

    def _let_die(self) -> None:
        # its pipe is closed a moment before it is gone: wait for its own exit status
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1)

    def end(self) -> None:
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        self.process.wait()


def _during(stage: str) -> str:
    return f" during {stage}" if stage else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# --- the child's side ---

_out: BinaryIO | None = None
_out_lock = threading.Lock()


def report_stage(stage: str) -> None:
    """Tell the parent what comes next ("decode", "infer"), so that it knows where a death fell.

    Costs one small write; does nothing outside of a worker process.
    """
    if _out is not None:
        with _out_lock:
            write_frame(_out, {"kind": "stage", "stage": stage})


def child_main(target: str) -> None:
    """The whole life of a worker process."""
    global _out
    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    no_core_dump()
    frames_in = os.fdopen(os.dup(0), "rb")
    _out = os.fdopen(os.dup(1), "wb")
    # from here on, a stray print goes to stderr and never among the frames
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    calls: queue.SimpleQueue[tuple[dict[str, Any], bytes]] = queue.SimpleQueue()
    # reads beside the work, so that the end of the parent is noticed in the middle of a call
    threading.Thread(target=_listen, args=(frames_in, calls), daemon=True).start()
    function: Function | None = None
    while True:
        header, payload = calls.get()
        try:
            if function is None:
                function = _prepare(target, header["config"])
                answer: dict[str, Any] = {}
                back = b""
            else:
                answer, back = function(header, payload)
            _send({"kind": "result", "header": answer}, back)
        except BrokenPipeError:
            os._exit(0)
        except Exception as error:
            with contextlib.suppress(BrokenPipeError):
                _send(error_to(error), b"")


def _send(header: dict[str, Any], payload: bytes) -> None:
    with _out_lock:
        write_frame(cast(BinaryIO, _out), header, payload)


def _listen(file: BinaryIO, calls: queue.SimpleQueue[tuple[dict[str, Any], bytes]]) -> None:
    try:
        while frame := read_frame(file):
            calls.put(frame)
    finally:
        os._exit(0)


def _prepare(target: str, config: dict[str, Any]) -> Function:
    limit = config.get("memory_limit_bytes")
    if limit:
        limit_memory(int(limit))
    module, _, attribute = target.partition(":")
    factory: Callable[[dict[str, Any]], Function] = getattr(
        importlib.import_module(module), attribute
    )
    return factory(config)
