"""The end of the process of a command."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """Run what was registered for the exit, and end the process without taking torch down.

    Unloading torch takes .7 s and saves nothing: the system frees what a process held. In order
    where somebody still needs the interpreter: threads that are not done, a profiler, a debugger,
    `python -i`, an output that cannot be written.
    """
    others = (thread for thread in threading.enumerate() if thread is not threading.main_thread())
    waiting = any(not thread.daemon for thread in others)
    watched = sys.getprofile() or sys.gettrace() or sys.flags.interactive or sys.flags.inspect
    if waiting or watched or "torch" not in sys.modules:
        sys.exit(code)
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(code)
    os._exit(code)
