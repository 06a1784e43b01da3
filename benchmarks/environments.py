"""The peers' environments: made once by uv from `peers/NAME.txt`, outside the project's own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from processes import Failed

REQUIREMENTS = Path(__file__).with_name("peers")
_UV = Path(sys.executable).with_name("uv")
_STAMP = "requirements.sha256"


def default_folder() -> Path:
    """Where environments are kept from one run to the next."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "opsin-peers"


@cache
def python_of(name: str, folder: Path) -> str:
    """The Python of a peer's environment, installed if need be. Raises `Failed`, which says why."""
    wanted = REQUIREMENTS / f"{name}.txt"
    here = folder / name
    python = here / "bin" / "python"
    stamp, digest = here / _STAMP, hashlib.sha256(wanted.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text("utf-8") == digest:
        return str(python)
    print(f"installing the peer {name} into {here}", file=sys.stderr)
    if not python.is_file():
        _uv("venv", "--python", sys.executable, str(here))
    _uv("pip", "install", "--python", str(python), "--compile-bytecode", "-r", str(wanted))
    stamp.write_text(digest, "utf-8")
    return str(python)


def versions_of(name: str) -> str:
    """What `peers/NAME.txt` names, as `name 1.2, name 3.4`."""
    lines = (REQUIREMENTS / f"{name}.txt").read_text("utf-8").splitlines()
    pins = [line.split("==") for line in lines if "==" in line]
    return ", ".join(f"{package} {version}" for package, version in pins)


def _uv(*arguments: str) -> None:
    command = [str(_UV), *arguments]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=1800)
    except FileNotFoundError:
        raise Failed("not installed: uv is missing; make install") from None
    except subprocess.TimeoutExpired:
        raise Failed("not installed: uv took more than half an hour") from None
    except subprocess.CalledProcessError as error:
        said = " ".join((error.stderr or "").split())[-200:]
        raise Failed(f"not installed: {said}") from None
