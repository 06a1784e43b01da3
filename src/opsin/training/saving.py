"""When a checkpoint is due, and what to do when there is no room for it."""

from __future__ import annotations

import time
from collections.abc import Callable

from opsin.core.errors import Interrupted, NoRoom
from opsin.core.words import duration
from opsin.training.interrupt import StopRequest

PAUSE_S = 5.0
"""Between two looks at a full disk."""


class Saving:
    """`steps`: from one checkpoint to the next, None to go by time alone; `seconds`: likewise;
    `disk_wait`: seconds in which a full disk may find room; `say` is told of it.
    """

    def __init__(
        self,
        *,
        steps: int | None = None,
        seconds: float = 30.0,
        disk_wait: float = 600.0,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.steps = steps
        self.seconds = seconds
        self.disk_wait = disk_wait
        self.say = say
        self._step = 0
        self._time = time.monotonic()

    def saved(self, step: int) -> None:
        """A checkpoint of `step` steps is there."""
        self._step, self._time = step, time.monotonic()

    def due(self, step: int) -> bool:
        """Whether the next checkpoint is due after `step` steps."""
        many = self.steps is not None and step - self._step >= self.steps
        return many or time.monotonic() - self._time >= self.seconds

    def patiently(self, write: Callable[[], None], stop: StopRequest, kept: str) -> None:
        """Call `write` until the disk has room for what it writes.

        Raises `NoRoom` after `disk_wait` seconds, naming the checkpoint `kept`, and at once when
        something else forbids to write; `Interrupted` when somebody asks to stop meanwhile.
        """
        until = time.monotonic() + self.disk_wait
        asked = stop.exit_code
        while True:
            try:
                return write()
            except NoRoom as error:
                fault = error
            last = f"the last checkpoint is {kept}" if kept else "there is no checkpoint yet"
            left = until - time.monotonic()
            if fault.code != "disk_full" or left <= 0:
                message = f"{fault.message}; {last}"
                raise NoRoom(message, code=fault.code, where=fault.where, fix=fault.fix)
            self.say(f"{fault.message}; waiting for room, {duration(left)} more; {last}")
            pause = time.monotonic() + min(left, PAUSE_S)
            while time.monotonic() < pause:
                if stop.exit_code is not None and asked is None:
                    raise Interrupted(
                        f"stopped while the disk was full; {last}", exit_code=stop.exit_code
                    )
                time.sleep(0.05)
