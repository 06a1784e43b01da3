"""Pillow's reader for one format, without Pillow's guessing."""

from __future__ import annotations

import importlib
import struct
from typing import Any

_PLUGINS = {
    "JPEG": "PIL.JpegImagePlugin:JpegImageFile",
    "PNG": "PIL.PngImagePlugin:PngImageFile",
    "WebP": "PIL.WebPImagePlugin:WebPImageFile",
    "GIF": "PIL.GifImagePlugin:GifImageFile",
    "BMP": "PIL.BmpImagePlugin:BmpImageFile",
    "TIFF": "PIL.TiffImagePlugin:TiffImageFile",
}


def plugin(format_: str) -> Any:
    """Pillow's class for one format.

    Not `Image.open`: that tries all its formats, checks the size against a limit that is global
    to the process, and takes a JPEG with further pictures behind it for an MPO.
    """
    module, _, attribute = _PLUGINS[format_].partition(":")
    return getattr(importlib.import_module(module), attribute)


def webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) of the canvas; (0, 0) is never returned for a header that was cut: a cut
    header gives a size that passes, and the decoder says `truncated`.
    """
    head = data[12:30].ljust(18, b"\xff")
    kind, body = head[:4], head[8:]
    if len(data) < 30:
        return 1 << 10, 1 << 10
    if kind == b"VP8X":
        return (
            int.from_bytes(body[4:7], "little") + 1,
            int.from_bytes(body[7:10], "little") + 1,
        )
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", body[6:10])
    return width & 0x3FFF, height & 0x3FFF
