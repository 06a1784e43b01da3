"""A serving worker whose decoder can be made to crash or hang, by the name of the picture."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from opsin.core.isolated import Function, report_stage
from opsin.serving.worker import factory as real_factory


def factory(config: dict[str, Any]) -> Function:
    """The real worker, except for pictures named crash.png and hang.png."""
    real = real_factory(config)

    def function(header: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        if header["do"] == "decode" and header["name"] in ("crash.png", "hang.png"):
            report_stage("decode")
            if header["name"] == "crash.png":
                os.kill(os.getpid(), signal.SIGSEGV)
            time.sleep(60)
        return real(header, payload)

    return function
