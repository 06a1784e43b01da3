"""Every call of a process that changes what lies in a folder: counted, or the one to die at."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
MOMENTS = ("before", "half", "after")
"""Half: of a write, with the first half of its bytes on the disk."""

AUDITED = {
    "os.mkdir": "mkdir",
    "os.remove": "unlink",
    "os.rename": "rename",
    "os.rmdir": "rmdir",
    "os.symlink": "symlink",
    "os.truncate": "truncate",
}


class WriteCalls:
    """Stands between this process and the system from `install` on; there is no way back, so it
    belongs into a child process.

    `die_at`: the number of a call, from 1, and one of `MOMENTS`; the process then kills itself by
    SIGKILL. `seen`: (kind, file name) of each call. `missed` says whether Python's own audit
    events tell of a change that is not among them.
    """

    def __init__(self, folder: Path, die_at: tuple[int, str] | None = None) -> None:
        self.folder = str(folder.resolve())
        self.die_at = die_at
        self.seen: list[tuple[str, str]] = []
        self._pid = os.getpid()
        self._names: dict[int, str] = {}
        self._audited: Counter[str] = Counter()

    def install(self) -> None:
        """Begin."""
        sys.addaudithook(self._audit)
        self._open_of_io = io.open
        io.open = builtins.open = self._open  # type: ignore[assignment]
        for module, name, kind in (
            (os, "replace", "rename"),
            (os, "rename", "rename"),
            (os, "unlink", "unlink"),
            (os, "remove", "unlink"),
            (os, "mkdir", "mkdir"),
            (os, "rmdir", "rmdir"),
            (os, "symlink", "symlink"),
        ):
            setattr(module, name, self._by_path(getattr(module, name), kind))
        for name, kind in (("fsync", "fsync"), ("ftruncate", "truncate")):
            setattr(os, name, self._by_handle(getattr(os, name), kind))
        self._os_open, os.open = os.open, self._open_handle
        self._os_write, os.write = os.write, self._write_handle

    def missed(self) -> dict[str, int]:
        """Kinds of calls that the audit events count otherwise than `seen` does."""
        counted = Counter(kind for kind, _ in self.seen)
        kinds = {"open", "truncate", *AUDITED.values()}
        return {k: self._audited[k] - counted[k] for k in kinds if self._audited[k] != counted[k]}

    def call(
        self, kind: str, name: str, do: Callable[[], T], half: Callable[[], Any] | None = None
    ) -> T:
        """Count it, do it, and die where that was asked for."""
        if os.getpid() != self._pid:
            return do()
        self.seen.append((kind, name))
        number, moment = self.die_at or (0, "")
        if number != len(self.seen):
            return do()
        if moment == "half" and half is not None:
            half()
        if moment == "after":
            with contextlib.suppress(OSError):  # a folder that is there, a file that is gone
                do()
        os.kill(self._pid, signal.SIGKILL)
        raise AssertionError("still here")

    def _inside(self, path: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        # Not resolved: what a link points to is not what its name says.
        return str(Path(os.fsdecode(path)).absolute()).startswith(self.folder)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if self._inside(path) and flags & WRITING:
                self._audited["open"] += 1
        elif event in AUDITED and any(map(self._inside, arguments[:2])):
            self._audited[AUDITED[event]] += 1
        elif event == "os.truncate" and arguments[0] in self._names:
            self._audited["truncate"] += 1

    def _by_path(self, function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if not any(map(self._inside, arguments[:2])):
                return function(*arguments, **options)
            name = Path(os.fsdecode(arguments[-1 if kind == "rename" else 0])).name
            return self.call(kind, name, lambda: function(*arguments, **options))

        return wrapped

    def _by_handle(self, function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def wrapped(handle: int, *arguments: Any) -> Any:
            name = self._names.get(handle)
            if name is None:
                return function(handle, *arguments)
            return self.call(kind, name, lambda: function(handle, *arguments))

        return wrapped

    def _open_handle(self, path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        inside = self._inside(path)

        def do() -> int:
            handle = self._os_open(path, flags, *arguments, **options)
            self._names.pop(handle, None)
            if inside:
                self._names[handle] = Path(os.fsdecode(path)).name
            return handle

        if inside and flags & WRITING:
            return self.call("open", Path(os.fsdecode(path)).name, do)
        return do()

    def _write_handle(self, handle: int, data: Any) -> int:
        name = self._names.get(handle)
        if name is None:
            return self._os_write(handle, data)
        start = bytes(data)[: len(data) // 2]
        return self.call(
            "write",
            name,
            lambda: self._os_write(handle, data),
            lambda: self._os_write(handle, start),
        )

    def _open(
        self,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        if opener or not set(mode) & set("wxa+") or not self._inside(file):
            return self._open_of_io(
                file, mode, buffering, encoding, errors, newline, closefd, opener
            )
        raw = self.call("open", Path(os.fsdecode(file)).name, lambda: _Raw(self, file, mode))
        self._names[raw.fileno()] = raw.label
        if buffering == 0:
            return raw
        both = "+" in mode
        buffered: Any = io.BufferedRandom(raw) if both else io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, encoding, errors, newline)


class _Raw(io.FileIO):
    """A file whose writes are counted: the bytes that reach the system, not those that Python
    keeps in a buffer.
    """

    def __init__(self, calls: WriteCalls, file: Any, mode: str) -> None:
        super().__init__(file, mode.replace("b", "").replace("t", ""))
        self._calls = calls
        self.label = Path(os.fsdecode(file)).name

    def write(self, data: Any) -> int:
        whole = bytes(data)
        return self._calls.call(
            "write",
            self.label,
            lambda: super(_Raw, self).write(whole),
            lambda: super(_Raw, self).write(whole[: len(whole) // 2]),
        )

    def truncate(self, size: int | None = None) -> int:
        return self._calls.call("truncate", self.label, lambda: super(_Raw, self).truncate(size))

    def close(self) -> None:
        if not self.closed:
            self._calls._names.pop(self.fileno(), None)
        super().close()
