"""The one picture inside a multipart/form-data body, taken out as the body arrives.

The parser is python-multipart's; the limits are ours: nothing but the picture is kept, and whoever
sends more parts or longer headers than a form with one file needs is refused at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from opsin.serving.refusal import Refusal

MAX_PARTS = 8
MAX_HEADER_BYTES = 4096
"""Of all headers of one part."""
MAX_NAME_CHARS = 255


@dataclass(frozen=True)
class Upload:
    """A picture's bytes, and the name it was sent under, or ""."""

    data: bytes
    name: str


def boundary_of(content_type: str) -> bytes | None:
    """The boundary when `content_type` is a form's, None when it is something else.

    Raises `Refusal` (400) for a form without one.

    >>> boundary_of('multipart/form-data; boundary="x"'), boundary_of("image/png")
    (b'x', None)
    """
    if not content_type.strip().lower().startswith("multipart/"):
        return None
    try:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
    except Exception:  # it was not made for hostile headers
        kind, boundary = b"", b""
    if kind.lower() != b"multipart/form-data" or not 0 < len(boundary) <= 200:
        raise malformed("the Content-Type is not multipart/form-data with a boundary")
    return bytes(boundary)


class PictureForm:
    """Feed it the body piece by piece, then ask for the picture. Raises `Refusal`."""

    def __init__(self, boundary: bytes) -> None:
        self._parts = 0
        self._header_bytes = 0
        self._field = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._name: str | None = None
        self._picture: bytearray | None = None
        self._in_picture = False
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begin,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._part_data,
                    "on_part_end": self._part_end,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise malformed("the boundary of the form is not usable") from error

    def feed(self, data: bytes) -> None:
        """The next piece of the body."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise malformed("the multipart body is malformed") from error

    def finish(self) -> Upload:
        """The picture, once the whole body was fed."""
        if not self._ended:
            raise malformed("the multipart body ends before its closing boundary")
        if self._picture is None:
            raise Refusal(
                "the form has no file; send the picture as a file field",
                status=422,
                code="missing_file",
                field="body.file",
            )
        return Upload(bytes(self._picture), self._name or "")

    def _part_begin(self) -> None:
        self._parts += 1
        self._header_bytes = 0
        self._disposition = b""
        if self._parts > MAX_PARTS:
            raise malformed(f"the form has more than {MAX_PARTS} parts")

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            raise malformed(f"the headers of a part have more than {MAX_HEADER_BYTES} bytes")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._value += data[start:end]

    def _header_end(self) -> None:
        if bytes(self._field).strip().lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        try:
            _, options = parse_options_header(self._disposition)
        except Exception as error:
            raise malformed("a part has a malformed Content-Disposition") from error
        filename = options.get(b"filename")
        self._in_picture = filename is not None or options.get(b"name") in (b"file", b"image")
        if not self._in_picture:
            return
        if self._picture is not None:
            raise Refusal(
                "the form has more than one file; send one picture a request",
                status=422,
                code="too_many_files",
                field="body.file",
            )
        self._picture = bytearray()
        self._name = _base_name(filename or b"")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_picture and self._picture is not None:
            self._picture += data[start:end]

    def _part_end(self) -> None:
        self._in_picture = False

    def _end(self) -> None:
        self._ended = True


def malformed(message: str) -> Refusal:
    """400: not a body that can be read."""
    return Refusal(message, status=400, code="malformed_body", field="body")


def _base_name(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in text if c.isprintable())[:MAX_NAME_CHARS]
