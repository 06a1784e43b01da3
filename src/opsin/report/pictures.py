"""Pictures for a page: small, inside the page itself, and never a reason to fail."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from opsin.core.errors import OpsinError
from opsin.core.files import sha256_file
from opsin.core.preprocess import PreprocessSpec
from opsin.data.decode import Decoded
from opsin.report.read import PictureRow

Decode = Callable[[Path], Decoded]
UInt8Image = NDArray[np.uint8]

_SMALL_PX = 64
"""Pictures up to this size are shown enlarged with their pixels to be seen, and kept lossless."""


@dataclass(frozen=True)
class Shown:
    """A picture on the page. `uri`: a data: address, empty for a placeholder, for which `why`
    says in a few words what became of the picture; `heat_uri`: the same with its heat map.
    """

    uri: str = ""
    heat_uri: str = ""
    why: str = ""
    small: bool = False


@dataclass(frozen=True)
class Album:
    """The pictures of a data folder, by source id. `root` None: no folder, placeholders only."""

    root: Path | None
    decode: Decode
    manifest: Mapping[str, PictureRow]

    def show(
        self,
        source_id: str,
        *,
        side_px: int,
        heat: NDArray[np.float32] | None = None,
        spec: PreprocessSpec | None = None,
    ) -> Shown:
        """The picture with its longer side at most `side_px`. Never raises for a bad picture.

        `heat`: h w in [0, 1], of any size, over what the model saw; `spec` says which part of
        the picture that was (None: all of it).
        """
        if self.root is None:
            return Shown(why="no data folder given")
        path = _inside(self.root, source_id)
        if path is None:
            return Shown(why="outside the data folder")
        try:
            if not path.exists():
                return Shown(why="no longer there")
            row = self.manifest.get(source_id)
            if row is not None and row.sha256 and sha256_file(path) != row.sha256:
                return Shown(why="changed since the training")
            image = self.decode(path).image
        except (OpsinError, OSError, ValueError, MemoryError):
            return Shown(why="cannot be read")
        small = max(image.shape[:2]) <= _SMALL_PX
        thumb = image if small else shrink(image, side_px)
        heat_uri = ""
        if heat is not None and heat.ndim == 2 and heat.size:
            placed = place_heat(heat, spec, image.shape[:2], thumb.shape[:2])
            heat_uri = data_uri(heat_over(thumb, placed), lossless=small)
        return Shown(data_uri(thumb, lossless=small), heat_uri, small=small)


def shrink(image: UInt8Image, side_px: int) -> UInt8Image:
    """uint8 H W 3 with the longer side at most `side_px`, proportions kept."""
    picture = Image.fromarray(image)
    picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def data_uri(image: UInt8Image, *, lossless: bool) -> str:
    """uint8 H W 3 as a data: address, PNG or JPEG."""
    buffer = io.BytesIO()
    if lossless:
        Image.fromarray(image).save(buffer, "PNG", optimize=True)
    else:
        Image.fromarray(image).save(buffer, "JPEG", quality=84, optimize=True)
    kind = "png" if lossless else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def heat_over(image: UInt8Image, heat: NDArray[np.float32]) -> UInt8Image:
    """`image` (uint8 H W 3) in dimmed grey, with `heat` (H W in [0, 1]) over it in inferno: its
    lightness rises with the heat, so it reads the same to the colour-blind and in grey print.
    """
    from matplotlib import colormaps

    grey = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    base = np.repeat(grey[:, :, None] * 0.62 + 18, 3, axis=2)
    # The dark end is left out: it would hide the picture exactly where nothing is to be said.
    colour = colormaps["inferno"](0.25 + 0.72 * heat)[:, :, :3].astype(np.float32) * 255
    alpha = np.clip(heat * 1.15 - 0.08, 0, 0.78)[:, :, None]
    blend: NDArray[np.float32] = base * (1 - alpha) + colour * alpha
    return np.clip(blend, 0, 255).astype(np.uint8)


def place_heat(
    heat: NDArray[np.float32],
    spec: PreprocessSpec | None,
    source_hw: tuple[int, ...],
    shown_hw: tuple[int, ...],
) -> NDArray[np.float32]:
    """`heat` (h w, over the model's input) laid over the picture it came from: `shown_hw`, in
    [0, 1]; 0 where the model saw nothing. NaN counts as 0.
    """
    heat = np.clip(np.nan_to_num(np.asarray(heat, np.float32)), 0, 1)
    height, width = shown_hw
    if spec is None:
        return _resize(heat, height, width)
    prepared = np.zeros(spec.prepared_px, np.float32)
    (top, left), (tall, wide) = spec.margin_px, spec.size_px
    prepared[top : top + tall, left : left + wide] = _resize(heat, tall, wide)
    row, column, rows, columns = spec.target_box(source_hw[0], source_hw[1])
    filled = prepared[row : row + rows, column : column + columns]
    row, column, rows, columns = spec.source_box(source_hw[0], source_hw[1])
    y, x = height / source_hw[0], width / source_hw[1]
    y0, x0 = min(round(row * y), height - 1), min(round(column * x), width - 1)
    y1, x1 = max(y0 + 1, round((row + rows) * y)), max(x0 + 1, round((column + columns) * x))
    placed = np.zeros((height, width), np.float32)
    placed[y0:y1, x0:x1] = _resize(filled, y1 - y0, x1 - x0)
    return placed


def _resize(values: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    picture = Image.fromarray(np.ascontiguousarray(values))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def _inside(root: Path, source_id: str) -> Path | None:
    """The file of a source id, or None for one that leads out of the data folder."""
    relative = PurePosixPath(source_id)
    if relative.is_absolute() or ".." in relative.parts or "\0" in source_id:
        return None
    return root / relative
