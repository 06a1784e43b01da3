"""What a file is, told by its first bytes and never by its name."""

from __future__ import annotations

from opsin.core.magic import looks_like

ALLOWED = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF")

FORMAT_OF_SUFFIX = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WebP",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)

_FOREIGN = (
    (b"%PDF", "application/pdf"),
    (b"%!PS", "application/postscript"),
    (b"\xc5\xd0\xd3\xc6", "application/postscript"),
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"\0\0\1\0", "image/x-icon"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"\0\0\0\x0cjP  ", "image/jp2"),
    (b"\xff\x0a", "image/jxl"),
    (b"qoif", "image/qoi"),
    (b"DDS ", "image/vnd.ms-dds"),
    (b"RIFF", "a RIFF file that is not WebP"),
)

_HEIF_BRANDS = {b"avif": "image/avif", b"avis": "image/avif"}


def picture_format(data: bytes) -> str | None:
    """One of `ALLOWED`, or None for anything else; 12 bytes are enough.

    >>> picture_format(b"GIF89a..."), picture_format(b"<html>")
    ('GIF', None)
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    return next((name for start, name in _SIGNATURES if data.startswith(start)), None)


def beginning_of(data: bytes) -> str | None:
    """The allowed format whose signature these few bytes begin, when they stop inside it.

    >>> beginning_of(b"\\x89PN"), beginning_of(b"hello")
    ('PNG', None)
    """
    if len(data) < 12 and data[:4] == b"RIFF"[: len(data)] and b"WEBP".startswith(data[8:]):
        return "WebP"
    return next((name for start, name in _SIGNATURES if start.startswith(data)), None)


def media_type(data: bytes) -> str:
    """What a refused file is, in words for its owner; a guess from the first kilobyte.

    >>> media_type(b"<!DOCTYPE html><title>404</title>"), media_type(b"\\x00\\x07")
    ('text/html', 'an unknown kind of data')
    """
    for start, name in _FOREIGN:
        if data.startswith(start):
            return name
    if looks_like(data[:16]) == "pickle":
        return "application/x-python-pickle"
    if data[4:8] == b"ftyp":
        return _HEIF_BRANDS.get(data[8:12], "image/heic or another video-like container")
    text = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text:
        return "image/svg+xml"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "text/html"
    if text.startswith(b"<?xml"):
        return "text/xml"
    if text[:2] in (b"p1", b"p2", b"p3", b"p4", b"p5", b"p6") and data[2:3].isspace():
        return "image/x-portable-anymap"
    if text and b"\0" not in text and _is_utf8(text):
        return "text/plain"
    return "an unknown kind of data"


def _is_utf8(text: bytes) -> bool:
    # the cut at one kilobyte may fall inside a character
    for end in (len(text), len(text) - 1, len(text) - 2, len(text) - 3):
        try:
            text[: max(end, 0)].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return True
    return False
