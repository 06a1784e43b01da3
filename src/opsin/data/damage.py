"""Whether a picture file is whole: damage that Pillow does not see, and what kind it sees."""

from __future__ import annotations

import io
import struct
import zlib

from opsin.data.plugins import plugin


def check_png_sums(data: bytes) -> None:
    """Compare the checksums of the parts that hold the picture, which Pillow does not do once it
    has all rows. A file whose end is missing is left to the decoder.
    """
    place = 8
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 8 + length
        if end + 4 > len(data) or kind == b"IEND":
            return
        if kind in (b"IHDR", b"PLTE", b"IDAT"):
            (stated,) = struct.unpack_from(">I", data, end)
            if zlib.crc32(memoryview(data)[place + 4 : end]) != stated:
                raise ValueError(f"the checksum of {kind.decode()} differs")
        place = end + 4


def ends_early(data: bytes, format_: str, error: Exception) -> bool:
    """Whether a picture that failed to decode does so because its end is missing."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, EOFError | struct.error) or "truncated" in str(cause).lower():
            return True
        cause = cause.__cause__ or cause.__context__
    if format_ == "PNG":
        return b"IEND" not in data
    if format_ == "JPEG":
        start_of_scan = data.rfind(b"\xff\xda")
        return start_of_scan < 0 or data.rfind(b"\xff\xd9") < start_of_scan
    if format_ == "GIF":
        return not data.rstrip(b"\0").endswith(b";")
    if format_ == "WebP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if format_ == "BMP":
        return int.from_bytes(data[2:6], "little") > len(data)
    return _tiff_ends_early(data)


def _tiff_ends_early(data: bytes) -> bool:
    """Whether the directory, or a part of the picture that it names, lies beyond the end."""
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 8:
        return True
    (directory,) = struct.unpack_from(order + "I", data, 4)
    if directory + 2 > len(data):
        return True
    (entries,) = struct.unpack_from(order + "H", data, directory)
    if directory + 2 + 12 * entries > len(data):
        return True
    try:
        with plugin("TIFF")(io.BytesIO(data)) as picture:
            tags = picture.tag_v2
            return any(
                offset + count > len(data)
                for offsets, counts in ((273, 279), (324, 325))
                for offset, count in zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
            )
    except Exception:  # it did not open the first time either
        return False
