"""Messages over a pipe: a JSON object and raw bytes, each with its length in front.

No pickle: whatever the other side has become, what it sends is only ever read as data.
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

_LENGTHS = struct.Struct(">II")
MAX_HEADER_BYTES = 16 << 20
MAX_PAYLOAD_BYTES = 1 << 30


class BrokenFrame(Exception):
    """What came is not a frame, or its end is missing."""


def write_frame(file: BinaryIO, header: dict[str, Any], payload: bytes = b"") -> None:
    """Send one frame. Raises `OSError` when nobody listens any more."""
    text = json.dumps(header).encode("ascii")
    if len(text) > MAX_HEADER_BYTES or len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a frame of {len(text)} + {len(payload)} bytes is too large")
    file.write(_LENGTHS.pack(len(text), len(payload)) + text)
    file.write(payload)
    file.flush()


def read_frame(file: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """The next frame, or None at the end of the stream. Raises `BrokenFrame`.

    >>> import io
    >>> pipe = io.BytesIO()
    >>> write_frame(pipe, {"name": "caf\\udce9"}, b"raw")
    >>> _ = pipe.seek(0)
    >>> read_frame(pipe), read_frame(pipe)
    (({'name': 'caf\\udce9'}, b'raw'), None)
    """
    head = file.read(_LENGTHS.size)
    if not head:
        return None
    if len(head) < _LENGTHS.size:
        raise BrokenFrame("the length is cut")
    header_bytes, payload_bytes = _LENGTHS.unpack(head)
    if header_bytes > MAX_HEADER_BYTES or payload_bytes > MAX_PAYLOAD_BYTES:
        raise BrokenFrame(f"lengths of {header_bytes} and {payload_bytes} bytes")
    text, payload = file.read(header_bytes), file.read(payload_bytes)
    if len(text) < header_bytes or len(payload) < payload_bytes:
        raise BrokenFrame("the content is cut")
    try:
        header = json.loads(text)
    except ValueError as error:
        raise BrokenFrame(f"the header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise BrokenFrame("the header is not a JSON object")
    return header, payload
