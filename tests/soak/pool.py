"""A few processes, each with one thread, that fork a child for every run."""

from __future__ import annotations

import json
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection, wait
from typing import Any

from tests.soak.tally import Tally

Job = tuple[str, dict[str, Any]]
"""The name of a function and its arguments, JSON."""


class Pool:
    """`size` forks of this process; each does one job at a time, by the functions of `work`."""

    def __init__(self, size: int, work: Mapping[str, Callable[..., Tally]]) -> None:
        self._idle: list[Connection] = []
        self._pids: list[int] = []
        for _ in range(size):
            ours, theirs = multiprocessing.Pipe()
            pid = os.fork()
            if not pid:
                # Else this copy would keep the pipe of an older sibling open for ever.
                for connection in (*self._idle, ours):
                    connection.close()
                _serve(theirs, work)
            theirs.close()
            self._idle.append(ours)
            self._pids.append(pid)

    def run(self, jobs: Iterator[Job]) -> Iterator[tuple[Job, Tally]]:
        """What each job found, in the order of completion; the next one is asked for when
        somebody is free.
        """
        busy: dict[Connection, Job] = {}
        while True:
            while self._idle and (job := next(jobs, None)):
                connection = self._idle.pop()
                connection.send_bytes(json.dumps(job).encode())
                busy[connection] = job
            if not busy:
                return
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                tally = Tally.from_json(connection.recv_bytes())
                self._idle.append(connection)
                yield busy.pop(connection), tally

    def close(self) -> None:
        """End them; all must be idle."""
        for connection in self._idle:
            connection.close()
        for pid in self._pids:
            os.waitpid(pid, 0)


def _serve(connection: Connection, work: Mapping[str, Callable[..., Tally]]) -> None:
    try:
        while True:
            name, arguments = json.loads(connection.recv_bytes())
            try:
                tally = work[name](**arguments)
            except Exception:
                tally = Tally()
                tally.fail("broken", f"{name} {arguments.get('folder')}: {traceback.format_exc()}")
            connection.send_bytes(tally.to_json())
    except (EOFError, OSError, KeyboardInterrupt):
        os._exit(0)
