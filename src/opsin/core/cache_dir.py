"""The folder of what may be computed again: pixels, features, what the machine does best."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "OPSIN_CACHE_DIR"


def cache_dir() -> Path:
    """`$OPSIN_CACHE_DIR`, else the system's folder for caches. It need not be there, nor writable.

    Everything in it may be deleted at any time, at the price of computing it again.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "opsin"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else home / "AppData" / "Local") / "opsin" / "cache"
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else home / ".cache") / "opsin"
