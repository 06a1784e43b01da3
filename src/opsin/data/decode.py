"""`decode`: the bytes of a picture, from whoever, to uint8 RGB; or a plain reason why not.

Opened by content, never by extension; size read from the header before any pixel is decoded;
nothing is ever made up for missing data. How modes become RGB: `opsin.data.to_rgb`; who decodes
a JPEG: `opsin.data.jpeg`. A crash of the decoder itself cannot be caught here: untrusted files go
through `opsin.core.isolated`.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from opsin.core.errors import DataRefused
from opsin.core.preprocess import PreprocessSpec
from opsin.data.damage import check_png_sums, ends_early
from opsin.data.jpeg import jpeg_rgb
from opsin.data.plugins import plugin, webp_size
from opsin.data.quiet import pillow_warnings_ignored
from opsin.data.sniff import ALLOWED, FORMAT_OF_SUFFIX, beginning_of, media_type, picture_format
from opsin.data.to_rgb import to_rgb

MAX_FILE_BYTES = 1 << 30
"""A picture file larger than this is not read: nothing within `Limits.max_pixels` needs it."""


@dataclass(frozen=True)
class Limits:
    """What is refused from the header alone: more than `max_pixels`, or a side under
    `min_side_px`.
    """

    max_pixels: int = 50_000_000
    min_side_px: int = 8


@dataclass(frozen=True)
class Note:
    """Something the person should know of a picture that was used nevertheless.

    Codes: `extension_mismatch`, `rotated`, `first_frame`, `mode_converted`, `exif_unreadable`,
    `extra_bytes`.

    >>> str(Note("first_frame", "first_frame_of 37"))
    'first_frame_of 37'
    """

    code: str
    message: str

    def __str__(self) -> str:
        return (
            self.message if self.message.startswith(self.code) else f"{self.code}: {self.message}"
        )


@dataclass(frozen=True)
class Decoded:
    """`image`: uint8 H W 3, RGB, contiguous, upright; `format`: one of JPEG, PNG, WebP, GIF, BMP,
    TIFF; `mode`: Pillow's name for the pixels as they are in the file; `notes`: what was done;
    `size_px`: (H, W) of the picture in the file, upright: more than `image` has where a spec with
    a `jpeg_gap` let a JPEG be decoded smaller.
    """

    image: NDArray[np.uint8]
    format: str
    mode: str
    notes: tuple[Note, ...]
    size_px: tuple[int, int]


class Undecodable(DataRefused):
    """A picture that cannot be used.

    `code` is one of `empty_file`, `truncated`, `unsupported_format`, `too_many_pixels`,
    `too_small`, `permission_denied`, `missing_file`, `read_failed`, `file_too_large`,
    `image_undecodable`, `decoder_failed`. `message` does not repeat the code; `said` does.

    >>> str(Undecodable("400 MP, limit 50 MP", code="too_many_pixels", where="a.png"))
    'a.png: too_many_pixels: 400 MP, limit 50 MP'
    """

    default_code = "image_undecodable"

    @property
    def said(self) -> str:
        """What a person reads: the code, which people search for, and the message."""
        return f"{self.code}: {self.message}"

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        fix = f". To do: {self.fix}" if self.fix else ""
        return f"{where}{self.said}{fix}"


def decode_file(
    path: Path, *, limits: Limits = Limits(), spec: PreprocessSpec | None = None
) -> Decoded:
    """`decode` of a file's content. Raises `Undecodable`, also when the file cannot be read."""
    return decode(read_picture(path), name=str(path), limits=limits, spec=spec)


def read_picture(path: Path) -> bytes:
    """The bytes of a picture file. Raises `Undecodable`."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
            raise Undecodable("not a regular file", code="read_failed", where=str(path))
        if status.st_size > MAX_FILE_BYTES:
            raise Undecodable(
                f"{status.st_size / 1e6:,.0f} MB, limit {MAX_FILE_BYTES / 1e6:,.0f} MB",
                code="file_too_large",
                where=str(path),
            )
        return path.read_bytes()
    except PermissionError:
        raise Undecodable(
            f"{path}; run as a user who can read it", code="permission_denied", where=str(path)
        ) from None
    except FileNotFoundError:
        raise Undecodable("the file is gone", code="missing_file", where=str(path)) from None
    except OSError as error:
        raise Undecodable(
            error.strerror or str(error), code="read_failed", where=str(path)
        ) from None


def decode(
    data: bytes,
    *,
    name: str = "",
    limits: Limits = Limits(),
    spec: PreprocessSpec | None = None,
) -> Decoded:
    """The picture in `data`: uint8 H W 3, RGB, EXIF orientation applied, first frame only.

    `name` is used in messages and to notice a wrong extension. `spec`: what the picture will be
    prepared by; where it has a `jpeg_gap`, a large JPEG comes smaller. Raises `Undecodable`.

    >>> buffer = io.BytesIO()
    >>> Image.new("L", (20, 10), 7).save(buffer, "PNG")
    >>> picture = decode(buffer.getvalue(), name="grey.jpg")
    >>> picture.image.shape, picture.format, [str(note) for note in picture.notes]
    ((10, 20, 3), 'PNG', ['extension_mismatch: looks like PNG'])
    """
    if not data:
        raise Undecodable("the file has 0 bytes", code="empty_file", where=name)
    format_ = picture_format(data)
    if format_ is None:
        raise _unsupported(data, name)
    if format_ == "WebP":  # Pillow sets up the whole canvas as soon as it opens one
        _check_size(webp_size(data), limits, name)
    with (
        pillow_warnings_ignored(),
        _explained(data, format_, name, limits),
        plugin(format_)(io.BytesIO(data)) as picture,
    ):
        _check_size(picture.size, limits, name)
        if format_ == "PNG":
            check_png_sums(data)
        mode = picture.mode
        has_extra_bytes = False
        if format_ == "JPEG":
            turned, (orientation, exif_notes) = 1, _orientation(picture)
            size_px = _upright_size(picture.size, orientation)
            scale = spec.jpeg_scale(*size_px) if spec else 1
            stored, has_extra_bytes = jpeg_rgb(data, picture, scale)
            image = _upright(stored, orientation)
        else:
            # TIFFs are turned upright by Pillow as they are loaded. The EXIF data of the others
            # must not be asked for before: that loads the picture and swallows what goes wrong
            turned = _tiff_orientation(picture) if format_ == "TIFF" else 1
            picture.load()
            orientation, exif_notes = _orientation(picture)
            image = _upright(to_rgb(picture), orientation)
            size_px = image.shape[0], image.shape[1]
        notes = [
            *_extension_note(name, format_),
            *exif_notes,
            *_rotation_note(max(turned, orientation)),
            *_conversion_note(picture, mode),
            *_frames_note(picture),
            *_extra_note(has_extra_bytes),
        ]
    return Decoded(image, format_, mode, tuple(notes), size_px)


def _unsupported(data: bytes, name: str) -> Undecodable:
    if cut := beginning_of(data):
        return Undecodable(
            f"{len(data)} bytes present, the beginning of a {cut}",
            code="truncated",
            where=name,
            fix="copy or download the file again",
        )
    return Undecodable(
        f"{media_type(data)}; allowed {', '.join(ALLOWED)}",
        code="unsupported_format",
        where=name,
        fix="convert the file, or take it out",
    )


def _check_size(size: tuple[int, int], limits: Limits, name: str) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise _too_many(width * height, limits, name)
    if min(width, height) < limits.min_side_px:
        raise Undecodable(
            f"{width}×{height}, minimum {limits.min_side_px}×{limits.min_side_px}",
            code="too_small",
            where=name,
        )


def _too_many(pixels: int, limits: Limits, name: str) -> Undecodable:
    return Undecodable(
        f"{megapixels(pixels)} MP, limit {megapixels(limits.max_pixels)} MP",
        code="too_many_pixels",
        where=name,
        fix="scale the picture down, or take it out",
    )


def megapixels(pixels: int) -> str:
    """Millions of pixels; rounded up, so that what is over a limit also reads so.

    >>> megapixels(400_000_000), megapixels(50_000_001), megapixels(4_999)
    ('400', '50.1', '0.004999')
    """
    value = math.ceil(pixels / 1e5) / 10 if pixels > 1_000_000 else pixels / 1e6
    return f"{value:f}".rstrip("0").rstrip(".")


@contextlib.contextmanager
def _explained(data: bytes, format_: str, name: str, limits: Limits) -> Iterator[None]:
    """Whatever Pillow raises, as `Undecodable`.

    Broad on purpose: on broken files it raises OSError, SyntaxError, ValueError, EOFError,
    struct.error, KeyError, TypeError and more.
    """
    try:
        yield
    except Undecodable:
        raise
    except Image.DecompressionBombError as error:  # the header of a frame, larger than the file's
        pixels = re.search(r"\d+", str(error))
        raise _too_many(int(pixels[0]) if pixels else 0, limits, name) from None
    except MemoryError:
        raise Undecodable(
            "not enough memory to decode it", code="decoder_failed", where=name
        ) from None
    except Exception as error:
        if ends_early(data, format_, error):
            raise Undecodable(
                f"{len(data):,} bytes present, the picture needs more",
                code="truncated",
                where=name,
                fix="copy or download the file again",
            ) from error
        raise Undecodable(
            f"damaged {format_}: {error or type(error).__name__}",
            code="image_undecodable",
            where=name,
            fix="copy or download the file again, or take it out",
        ) from error


def _extension_note(name: str, format_: str) -> Iterator[Note]:
    expected = FORMAT_OF_SUFFIX.get(PurePath(name).suffix.lower(), format_)
    if expected != format_:
        yield Note("extension_mismatch", f"looks like {format_}")


def _orientation(picture: Image.Image) -> tuple[int, list[Note]]:
    """EXIF orientation 1 to 8; 1 with a note where the EXIF part is damaged."""
    try:
        value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block raises as many classes as a damaged picture
        return 1, [Note("exif_unreadable", "damaged EXIF data; taken as upright")]
    return (value if isinstance(value, int) and 1 <= value <= 8 else 1), []


def _tiff_orientation(picture: Any) -> int:
    value = picture.tag_v2.get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _rotation_note(orientation: int) -> Iterator[Note]:
    if orientation != 1:
        yield Note("rotated", f"turned upright, EXIF orientation {orientation}")


def _upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(H, W) as it is to be seen, of Pillow's (W, H) as it is stored."""
    width, height = size
    return (width, height) if orientation >= 5 else (height, width)


def _upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """uint8 H W 3 as its EXIF orientation says it is to be seen, contiguous.

    5 to 8 have rows and columns exchanged; of what is left, some are mirrored.
    """
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


_PLAIN = ("RGB", "L", "P", "1")


def _conversion_note(picture: Image.Image, mode: str) -> Iterator[Note]:
    if picture.has_transparency_data:
        yield Note("mode_converted", f"{mode} with transparency laid over white")
    elif mode not in _PLAIN:
        yield Note("mode_converted", f"{mode} to 8-bit RGB")


def _extra_note(has_extra_bytes: bool) -> Iterator[Note]:
    if has_extra_bytes:
        yield Note("extra_bytes", "bytes in it belong to nothing; a part may be damaged")


def _frames_note(picture: Image.Image) -> Iterator[Note]:
    try:
        frames = int(getattr(picture, "n_frames", 1))
    except Exception:  # the first frame was good; that later ones are damaged hurts nobody
        yield Note("first_frame", "first_frame_of more, some of them damaged")
        return
    if frames > 1:
        yield Note("first_frame", f"first_frame_of {frames}")
