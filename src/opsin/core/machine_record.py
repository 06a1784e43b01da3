"""What was measured on this machine, kept for the next run: files that may always be deleted."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from opsin.core.cache_dir import cache_dir
from opsin.core.cores import usable_cores
from opsin.core.device import hardware, versions
from opsin.core.errors import NoRoom
from opsin.core.files import read_json, sha256_bytes, write_json
from opsin.core.version import version

FORMAT = 2
RECORDS = re.compile(r"[a-z]+-[0-9a-f]{16}\.json")
"""The names of the files."""


def recall(kind: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `remember` kept of `kind` for `key` on a machine like this one; None where there is
    nothing that can be read.
    """
    whole = _whole(kind, key)
    try:
        found = read_json(_path(kind, whole))
        os.utime(_path(kind, whole))  # last used: now
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("key") != whole:
        return None
    value = found.get("value")
    return value if isinstance(value, dict) else None


def remember(kind: str, key: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    """Keep `value` (JSON) in `<cache>/machine/<kind>-<hash>.json`. False where the folder cannot be
    written: then the next run measures again.
    """
    whole = _whole(kind, key)
    path = _path(kind, whole)
    with contextlib.suppress(OSError, NoRoom, ValueError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"key": whole, "value": dict(value)})
        return True
    return False


def folder() -> Path:
    """Where the files are."""
    return cache_dir() / "machine"


def _path(kind: str, whole: Mapping[str, Any]) -> Path:
    text = json.dumps(whole, sort_keys=True)
    return folder() / f"{kind}-{sha256_bytes(text.encode())[:16]}.json"


def _whole(kind: str, key: Mapping[str, Any]) -> dict[str, Any]:
    """`key` as JSON gives it back, with the machine: another one has its own records."""
    return {"format": FORMAT, "kind": kind, **_machine(), **json.loads(json.dumps(dict(key)))}


@cache
def _machine() -> dict[str, Any]:
    return {
        "processor": hardware()["processor"],
        "cores": usable_cores(),
        "torch": versions().get("torch", ""),
        "opsin": version(),
    }
