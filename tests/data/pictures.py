"""Pictures made by hand, byte by byte, so that no decoder is its own witness."""

from __future__ import annotations

import struct
import zlib


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, bits: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """`rows`: packed samples of all rows, without the filter bytes. `colour` as in the standard:
    0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA.
    """
    stride = len(rows) // height
    raw = b"".join(b"\0" + rows[y * stride : (y + 1) * stride] for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + extra
        + chunk(b"IDAT", zlib.compress(raw, 9))
        + chunk(b"IEND", b"")
    )


def tiff(
    width: int,
    height: int,
    pixels: bytes,
    *,
    bits: int = 16,
    photometric: int = 1,
    sample_format: int = 1,
) -> bytes:
    """One uncompressed strip of one channel, little-endian."""
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, len(pixels)),
        (339, 3, sample_format),
    ]
    directory = struct.pack("<H", len(tags))
    for tag, kind, value in tags:
        directory += struct.pack("<HHII", tag, kind, 1, value)
    padded = pixels + b"\0" * (len(pixels) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(padded)) + padded + directory + b"\0\0\0\0"


def bomb(side: int = 20_000) -> bytes:
    """A PNG of side x side pixels of one bit in some 50 kB: 400 MP."""
    return png(side, side, 1, 0, b"\0" * (side // 8 * side))


# WebP: 81 MP, which Pillow's own limit would let pass
HUGE_HEADERS = {
    "PNG": b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", b"")
    + chunk(b"IEND", b""),
    "GIF": b"GIF89a" + struct.pack("<HHBBB", 20_000, 20_000, 0, 0, 0)
    # one picture over the whole screen
    + b"," + struct.pack("<HHHHB", 0, 0, 20_000, 20_000, 0) + b"\x02\0;",
    "GIF with a huge frame": b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0)
    + b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\0;",
    "BMP": b"BM" + struct.pack("<IHHI", 54, 0, 0, 54)
    + struct.pack("<IiiHHIIiiII", 40, 20_000, 20_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "TIFF": tiff(20_000, 20_000, b"\0" * 64, bits=8),
    "WebP extended": b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<II", 10, 0)
    + (8_999).to_bytes(3, "little") * 2,
    "WebP lossless": b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8L" + struct.pack("<I", 5) + b"\x2f"
    + (8_999 | 8_999 << 14).to_bytes(4, "little") + b"\0" * 5,
    "WebP lossy": b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8 " + struct.pack("<I", 10)
    + b"\x30\x01\x00\x9d\x01\x2a" + struct.pack("<HH", 9_000, 9_000),
    "JPEG": b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", 20_000, 20_000)
    + b"\x03\1\x11\0\2\x11\0\3\x11\0\xff\xda\0\x0c\x03\1\0\2\0\3\0\0\x3f\0\xff\xd9",
}  # fmt: skip
