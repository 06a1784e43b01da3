"""The pixels of a JPEG, by simplejpeg (libjpeg-turbo) where that is Pillow's picture bit for bit.

Pillow reads the header and decides what the file is; simplejpeg only makes the pixels, and is the
one that passes on what libjpeg warns of. Where it is not installed, or does not take a file,
Pillow makes the same pixels, and damage that libjpeg only warns of is not seen.
"""

from __future__ import annotations

import functools
import importlib
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsin.data.to_rgb import to_rgb

_COLOURS = {"RGB": "RGB", "L": "RGB", "CMYK": "CMYK"}
_DAMAGE = re.compile(
    r"bad (Huffman|arithmetic) code|instead of RST|extraneous bytes before marker 0xd[0-7]"
)


def jpeg_rgb(data: bytes, picture: Any, scale: int = 1) -> tuple[NDArray[np.uint8], bool]:
    """uint8 H W 3 of a JPEG's bytes, not turned, and whether bytes in it belong to nothing.

    `picture`: Pillow's, opened on `data`, nothing of it loaded. `scale`: 1, 2, 4 or 8, not above
    the shorter side; both sides come out divided by it, rounded up, straight from the DCT, where
    Pillow and libjpeg-turbo agree on the pixels (on 3/8 and its like Pillow has no say).

    Raises `EOFError` when the end of the data comes before the end of the picture, `ValueError`
    when they are damaged, and whatever Pillow raises.

    >>> import io
    >>> from PIL import Image
    >>> buffer = io.BytesIO()
    >>> Image.new("L", (33, 20), 7).save(buffer, "JPEG")
    >>> image, has_extra_bytes = jpeg_rgb(buffer.getvalue(), Image.open(buffer), scale=4)
    >>> image.shape, int(image.max()), has_extra_bytes
    ((5, 9, 3), 7, False)
    """
    width, height = picture.size
    tall, wide = -(-height // scale), -(-width // scale)
    has_extra_bytes = False
    turbo = _turbo()
    # It is not told the scale but the least size, which on a tiny picture several scales give.
    least = {"min_height": tall, "min_width": wide} if scale > 1 else {}
    exact = scale == 1 or max(height, width) >= 8
    if turbo is not None and exact and picture.mode in _COLOURS:
        try:
            # Memory is taken by what it reads in the header, not by what Pillow reads there.
            if turbo.decode_jpeg_header(data)[:2] == (height, width):
                image: NDArray[np.uint8] = turbo.decode_jpeg(
                    data, _COLOURS[picture.mode], strict=True, **least
                )
                if image.shape == (tall, wide, 3):
                    return image, False
        except ValueError as error:
            has_extra_bytes = _only_extra_bytes(str(error))
    if scale > 1:
        picture.draft(None, (width // scale, height // scale))
    picture.load()
    return to_rgb(picture), has_extra_bytes


def _only_extra_bytes(warning: str) -> bool:
    """What a warning of libjpeg means: raises for damage; False is for Pillow to judge.

    A few bytes too many before the end are what some cameras write. Before a restart marker they
    are the rest of a part that was not understood.
    """
    if "premature end" in warning.lower():
        raise EOFError(warning)
    if _DAMAGE.search(warning):
        raise ValueError(warning)
    return "extraneous bytes" in warning


@functools.cache
def _turbo() -> Any:
    try:
        return importlib.import_module("simplejpeg")
    except (ImportError, ValueError):  # not there, or built for another numpy
        return None
