"""A scan worker that dies or hangs on files with such a name; not a test."""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any

from opsin.core.isolated import Function
from opsin.data.scan_worker import factory


def fragile(config: dict[str, Any]) -> Function:
    honest = factory(config)

    def look_at(header: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        name = os.path.basename(header["path"])  # noqa: PTH119
        if "segv" in name:
            ctypes.string_at(0)
        if "abort" in name:
            os.abort()
        if "hang" in name:
            time.sleep(60)
        if "slow" in name and not os.path.exists(header["path"] + ".seen"):  # noqa: PTH110
            with open(header["path"] + ".seen", "w"):  # noqa: PTH123
                time.sleep(60)
        if "raise" in name:
            raise MemoryError("too much")
        return honest(header, payload)

    return look_at


def unable(config: dict[str, Any]) -> Function:
    raise RuntimeError("cannot start")
