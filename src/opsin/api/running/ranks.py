"""`--processes N` from one command: this process is rank 0, the others are its children."""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from opsin.core.config import TrainConfig
from opsin.core.error_frames import error_from, error_to
from opsin.core.errors import OpsinError
from opsin.core.progress import Silent

if TYPE_CHECKING:
    from opsin.training.processes import Processes

PATIENCE_S = 1800.0
"""How long a process waits for another that lives; one that ended is noticed at once."""
GRACE_S = 10.0
"""How long a process may take to end once its connections are closed."""

# As in `opsin.core.isolated`: nothing of the folder where a person stands may be imported.
_BOOT = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from opsin.api.running.ranks import rank_main; rank_main(sys.argv[2], sys.argv[3])"
)
_ROOT = str(Path(__file__).resolve().parents[2])


def rank_here(environment: Mapping[str, str] = os.environ) -> int:
    """Which of several processes this is, without loading torch; 0 where it is the only one.

    >>> rank_here({"WORLD_SIZE": "2", "RANK": "1"}), rank_here({})
    (1, 0)
    """
    return int(environment["RANK"]) if _told(environment) else 0


@contextmanager
def started_ranks(
    config: TrainConfig, target: str, arguments: Mapping[str, Any]
) -> Iterator[Processes]:
    """The processes of this training; those it starts run `target`, "module:function", with
    `arguments` (JSON) and a silent `progress`.

    Where torchrun or another rank 0 has started this one, it joins the others instead, and the
    `processes` of `config` is not looked at. What ended another process is raised as its own
    error, or as `ProcessLost`; no process is left behind.
    """
    with ExitStack() as stack:
        started = None
        if config.processes > 1 and not _told(os.environ):
            started = stack.enter_context(_Started(config.processes, target, arguments))
        # Loads torch, while the others do.
        from opsin.training.rendezvous import joined

        patience_s = PATIENCE_S + min(config.disk_wait, 86400.0)
        if started is None:
            meeting = joined(config.device, patience_s=patience_s)
        else:
            meeting = joined(
                config.device,
                patience_s=patience_s,
                environment=started.environment,
                listening=started.listening.detach(),
                watch=started.watch,
                why=started.why,
            )
        yield stack.enter_context(meeting)


def _told(environment: Mapping[str, str]) -> bool:
    return int(environment.get("WORLD_SIZE", "1")) > 1


class _Started:
    """Ranks 1 to `size` - 1 as children. They say nothing, heed no Ctrl-C, and end with this
    process, whatever ends it.
    """

    def __init__(self, size: int, target: str, arguments: Mapping[str, Any]) -> None:
        self.size = size
        self._call = json.dumps({"target": target, "arguments": dict(arguments)})
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> _Started:
        self._folder = tempfile.TemporaryDirectory(prefix="opsin-ranks-")
        self._path = Path(self._folder.name)
        (self._path / "call.json").write_text(self._call, "utf-8")
        # Open before the others start, so that nobody takes the port meanwhile.
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=self.size)
        settings = {f"OPSIN_{name.upper()}" for name in TrainConfig.model_fields}
        self.environment = {k: v for k, v in os.environ.items() if k not in settings} | {
            "RANK": "0",
            "LOCAL_RANK": "0",
            "WORLD_SIZE": str(self.size),
            "LOCAL_WORLD_SIZE": str(self.size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self.listening.getsockname()[1]),
        }
        try:
            for rank in range(1, self.size):
                self._start(rank)
        except BaseException:
            self._end(grace_s=0)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What can be saved is saved by this process, so after an error nothing is waited for.
        self._end(grace_s=0 if error else GRACE_S)

    def watch(self) -> None:
        """Raise what ended a child, if one has ended."""
        for rank, child in self._children.items():
            if child.poll() is not None:
                raise self._fault(rank)

    def why(self) -> OpsinError | None:
        """What ended the children: the fault of the one whose end the others only noticed."""
        until = time.monotonic() + GRACE_S
        while time.monotonic() < until:
            faults = [self._fault(n) for n, c in self._children.items() if c.poll() is not None]
            first = [fault for fault in faults if fault.code != "process_lost"]
            if first or len(faults) == len(self._children):
                return (first or faults)[0]
            time.sleep(0.05)
        return None

    def _start(self, rank: int) -> None:
        with (self._path / f"{rank}.stderr").open("wb") as stderr:
            self._children[rank] = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, _ROOT, str(self._path), str(rank)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=self.environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                # A Ctrl-C at the terminal is for this process, which tells the others.
                start_new_session=True,
            )

    def _fault(self, rank: int) -> OpsinError:
        """Why a child ended: its own error, or its signal or status with its last words."""
        from opsin.training.distributed import ProcessLost

        who = f"process {rank} of {self.size}"
        with suppress(OSError, ValueError):
            error = error_from(json.loads((self._path / f"{rank}.error").read_text("utf-8")))
            if error is not None:
                error.message += f" (in {who})"
                return error
        status = self._children[rank].returncode
        text = (self._path / f"{rank}.stderr").read_text("utf-8", "replace")
        last = next((f": {line[:300]}" for line in reversed(text.split("\n")) if line.strip()), "")
        return ProcessLost(
            f"{who} ended ({f'signal {-status}' if status < 0 else f'status {status}'}){last}",
            code="process_ended",
            fix="was there memory enough? each process holds the model and the pictures"
            if status == -9
            else "",
        )

    def _end(self, grace_s: float) -> None:
        self.listening.close()
        until = time.monotonic() + grace_s
        for child in self._children.values():
            try:
                child.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if child.stdin:
                child.stdin.close()
        self._folder.cleanup()


# --- the children's side ---


def rank_main(folder: str, rank: str) -> None:
    """The whole life of a process that rank 0 has started."""
    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    call = json.loads(Path(folder, "call.json").read_text("utf-8"))
    module, _, name = call["target"].partition(":")
    code: object = 0
    try:
        getattr(importlib.import_module(module), name)(**call["arguments"], progress=Silent())
    except SystemExit as end:
        code = end.code or 0
    except OpsinError as error:
        Path(folder, f"{rank}.error").write_text(json.dumps(error_to(error)), "utf-8")
        code = error.exit_code
    except BaseException:
        code = 1
        traceback.print_exc()
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    sys.stderr.flush()
    # Threads of torch may abort a process that takes itself down in order, for another reason then.
    os._exit(code)


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)
