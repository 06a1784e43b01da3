"""Ctrl-C and SIGTERM: finish the step and stop; the second one stops at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType

from opsin.core.errors import Interrupted

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}

SAME_S = 0.2
"""Two signals so close are one: `timeout` sends its own to the process and then to its group."""


class StopRequest:
    """`with StopRequest() as stop:` then `stop.exit_code` is set once somebody asked to stop.

    `say` is told so. Signals reach Python in the main thread only; elsewhere this listens to
    nothing. A second signal raises `KeyboardInterrupt` wherever the program is.
    """

    def __init__(self, say: Callable[[str], None] = lambda text: None) -> None:
        self.exit_code: int | None = None
        self._say = say
        self._asked_at = 0.0
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in EXIT_CODES:
                self._before[number] = signal.signal(number, self._asked)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def asked(self) -> bool:
        """Whether somebody asked to stop."""
        return self.exit_code is not None

    def fault(self, where: str) -> Interrupted:
        """What to raise, saying `where` the work stopped."""
        return Interrupted(f"stopped {where}", exit_code=self.exit_code or 130)

    def check(self, where: str) -> None:
        """Raise `Interrupted`, saying `where`, if somebody asked to stop."""
        if self.asked:
            raise self.fault(where)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        again = self.exit_code is not None
        if again and time.monotonic() - self._asked_at < SAME_S:
            return
        self._asked_at = time.monotonic()
        self.exit_code = EXIT_CODES[signal.Signals(number)]
        if again:
            raise KeyboardInterrupt
        self._say("stopping after this step, saving; once more stops at once")
