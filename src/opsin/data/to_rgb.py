"""The one rule by which every kind of pixel becomes 8-bit RGB.

1. Samples of more than 8 bits are scaled, never clipped. Unsigned 9 to 16 bits: the highest
   8 bits, by the bits that the file declares (so 65535 and 4095 of 12 become 255), which is also
   what Pillow does for 16-bit colour. Numbers without a nominal range (signed, 32-bit, float):
   the picture's own smallest to largest value becomes 0 to 255; what is not finite becomes 0.
2. A palette is looked up.
3. Transparency is laid over white, as a page shows it.
4. CMYK, YCbCr and LAB are converted by Pillow's formulas; embedded ICC profiles are ignored,
   because cameras, browsers and loaders disagree on them and a model never sees the difference.
5. Grey becomes three equal channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_BITS_PER_SAMPLE = 258
_PHOTOMETRIC = 262


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """A loaded Pillow picture of any mode as uint8 H W 3, contiguous.

    >>> to_rgb(Image.new("LA", (1, 1), (0, 0))).tolist()  # fully transparent black
    [[[255, 255, 255]]]
    """
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return np.repeat(_scaled(image)[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        # Pillow knows no way from premultiplied grey to RGBA but over plain grey
        over = image.convert("LA") if image.mode == "La" else image
        rgba = over.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, rgba)
    # np.array, not asarray: the picture's own memory goes away with it
    return np.ascontiguousarray(np.array(image.convert("RGB"), np.uint8))


def _scaled(image: Image.Image) -> NDArray[np.uint8]:
    """Rule 1 for a picture of one channel: uint8 H W."""
    raw: NDArray[Any] = np.asarray(image)
    grey: NDArray[np.uint8]
    if raw.dtype.kind == "u":
        shift = _declared_bits(image) - 8
        grey = np.minimum(raw >> shift, 255).astype(np.uint8)
    else:
        grey = _stretched(raw)
    if _tag(image, _PHOTOMETRIC) == 0:  # TIFF's "white is zero", which Pillow leaves to us here
        grey = np.uint8(255) - grey
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey = np.where(raw == transparent, np.uint8(255), grey)
    return grey


def _stretched(raw: NDArray[Any]) -> NDArray[np.uint8]:
    values = raw.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(raw.shape, np.uint8)
    low, high = values[finite].min(), values[finite].max()
    if low == high:  # one flat tone: no range to scale by
        return np.where(finite, np.clip(values, 0, 255), 0).astype(np.uint8)
    scaled = (values - low) / (high - low) * 255
    return np.where(finite, np.rint(np.where(finite, scaled, 0)), 0).astype(np.uint8)


def _declared_bits(image: Image.Image) -> int:
    bits = _tag(image, _BITS_PER_SAMPLE)
    return bits if 8 <= bits <= 16 else 16


def _tag(image: Image.Image, number: int) -> int:
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return -1
    value = tags.get(number, -1)
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else -1
