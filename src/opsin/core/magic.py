"""What a file is by its first bytes, for the files that carry a model."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from opsin.core.errors import ModelRefused

_LARGEST_HEADER = 100_000_000


def looks_like(head: bytes) -> str:
    """The kind of file that begins with `head` (at least 16 bytes of it).

    >>> looks_like(bytes([0x80, 4, 0x95])), looks_like(b"PK" + bytes([3, 4]))
    ('pickle', 'a zip, as torch.save writes (pickle inside)')
    """
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pickle"
    if head.startswith(b"PK\x03\x04"):
        return "a zip, as torch.save writes (pickle inside)"
    if head.startswith(b"\x89HDF"):
        return "HDF5 (Keras)"
    if len(head) > 8 and head[8:9] == b"{":
        return "safetensors"
    if head[:1] == b"\x08":
        return "ONNX"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself"
    return "something else"


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """In the block the model file (or folder) at `path` is read.

    An `OSError` in it becomes a `ModelRefused` (code `unreadable`).
    """
    try:
        yield
    except OSError as error:
        raise ModelRefused(
            f"cannot be read: {error.strerror or error}",
            code="unreadable",
            where=str(error.filename or path),
            fix="run as a user who can read it, or copy it to a healthy disk",
        ) from error


def require_kind(path: Path, kind: str) -> None:
    """Refuse a file that is not of `kind` ("safetensors" or "ONNX"); nothing in it is executed.

    Raises `ModelRefused`, also for a file that cannot be read.
    """
    with readable(path), path.open("rb") as file:
        size = path.stat().st_size
        head = file.read(16)
        found = looks_like(head)
        if found != kind:
            pickle = "; pickle is never loaded" if "pickle" in found else ""
            raise ModelRefused(
                f"not a {kind} file (looks like {found}){pickle}"
                if size
                else f"not a {kind} file (it is empty)",
                code=f"not_{kind.lower()}",
                where=str(path),
                fix=f"give a {kind} file",
            )
        if kind == "safetensors":
            length = int.from_bytes(head[:8], "little")
            if length > min(size - 8, _LARGEST_HEADER):
                raise _damaged(path, f"its header claims {length} bytes, the file has {size}")
            file.seek(8)
            try:
                json.loads(file.read(length))
            except ValueError as error:
                raise _damaged(path, f"its header is not JSON ({error})") from error


def _damaged(path: Path, why: str) -> ModelRefused:
    return ModelRefused(
        f"damaged safetensors file: {why}",
        code="damaged",
        where=str(path),
        fix="copy the file again from its source",
    )
