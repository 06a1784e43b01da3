"""Writing what only records the training: it never stops for that."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from opsin.core.errors import NoRoom
from opsin.core.files import no_room

Say = Callable[[str], None]


def silent(text: str) -> None:
    """Tell nobody."""


def sweep(folder: Path, name: str) -> None:
    """Take away what a write of `folder/name` (a pattern) left that was killed half-way."""
    for stale in folder.glob(f".{name}.*.tmp"):
        with contextlib.suppress(OSError):
            stale.unlink()


class Patient:
    """Tries for `wait_s` seconds to write the file `path`, then says so once and gives up; as
    long as it does not work, each later call tries once and says nothing more.
    """

    def __init__(self, path: Path, say: Say = silent, *, wait_s: float = 5.0) -> None:
        self.path = path
        self.say = say
        self.wait_s = wait_s
        self._failing = False

    def write(self, action: Callable[[], object]) -> bool:
        """Call `action` until it raises neither `NoRoom` nor `OSError`; whether that happened."""
        until = time.monotonic() + (0.0 if self._failing else self.wait_s)
        while True:
            try:
                action()
            except NoRoom as error:
                fault = error
            except OSError as error:
                fault = no_room(self.path, error)
            else:
                if self._failing:
                    self.say(f"{self.path.name} is written again")
                self._failing = False
                return True
            if time.monotonic() >= until:
                break
            time.sleep(0.05)
        if not self._failing:
            self.say(f"{fault.where}: {fault.message}; training goes on, the file comes later")
        self._failing = True
        return False
