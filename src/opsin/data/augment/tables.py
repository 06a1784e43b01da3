"""Operations that give each level another one, whatever is around it, as a table of 256 levels.

Pictures that need nothing else never become float: a table is looked up once for each byte.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from opsin.data.augment.grey import grey_weights

Pixels = NDArray[np.uint8]
Table = NDArray[np.float32]

POINTWISE = frozenset({"brightness", "contrast", "gamma", "posterize", "solarize"})
ALONE = frozenset({"autocontrast", "equalize"})
"""Those that ask the picture which levels it has, so nothing may have changed them before."""


def has_table(names: set[str]) -> bool:
    """Whether all of `names`, done in the order of `NEUTRAL`, are one table.

    >>> has_table({"gamma", "contrast"}), has_table({"equalize"}), has_table({"hue"})
    (True, True, False)
    """
    return names <= POINTWISE or (len(names) == 1 and names <= ALONE)


def look_up(picture: Pixels, values: Mapping[str, float]) -> None:
    """Change `picture`, uint8 C H W contiguous, in place by the operations named; rounded once."""
    for plane, table in zip(picture, tables(picture, values), strict=True):
        levels = np.clip(np.rint(table), 0, 255).astype(np.uint8)
        changed = plane.tobytes().translate(levels.tobytes())
        plane[:] = np.frombuffer(changed, np.uint8).reshape(plane.shape)


def tables(picture: Pixels, values: Mapping[str, float]) -> Table:
    """What becomes of each level, float32 C 256, not rounded."""
    if "autocontrast" in values:
        return np.stack([_stretched(plane) for plane in picture])
    if "equalize" in values:
        return np.stack([equalizing(_counts(plane)) for plane in picture])
    brightness, contrast = values.get("brightness", 1.0), values.get("contrast", 1.0)
    levels = np.arange(256) * (brightness * contrast)
    if "contrast" in values:
        sums = [int(plane.sum(dtype=np.uint32)) for plane in picture]
        mean = float(np.dot(grey_weights(len(picture)), sums)) / picture[0].size
        levels += (1 - contrast) * brightness * mean
    levels = np.clip(levels, 0, 255)
    if "gamma" in values:
        levels = 255 * (levels / 255) ** values["gamma"]
    if "posterize" in values:
        step = 2.0 ** (8 - values["posterize"])
        levels = np.floor(np.rint(levels) / step) * step
    if "solarize" in values:
        levels = np.rint(levels)
        levels = np.where(levels >= values["solarize"], 255 - levels, levels)
    return np.tile(levels.astype(np.float32), (len(picture), 1))


def equalizing(counts: NDArray[np.int64]) -> Table:
    """float32 256: the levels that make all equally common, as Pillow does it; `counts`: how
    often each is there.
    """
    last = counts[np.flatnonzero(counts)[-1]]
    step = int(counts.sum() - last) // 255
    if step == 0:
        return np.arange(256, dtype=np.float32)
    before = np.cumsum(counts) - counts
    levels: Table = np.clip((before + step // 2) // step, 0, 255).astype(np.float32)
    return levels


def _counts(plane: Pixels) -> NDArray[np.int64]:
    return np.array(Image.fromarray(plane).histogram(), np.int64)


def _stretched(plane: Pixels) -> Table:
    low, high = int(plane.min()), int(plane.max())
    levels = np.arange(256, dtype=np.float32)
    if low == high:
        return levels
    stretched: Table = (levels - np.float32(low)) * np.float32(255 / (high - low))
    return stretched
