"""Pictures side by side, each with what was predicted under it, as one PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from opsin.core.files import write_bytes
from opsin.core.printable import printable

SIDE_PX = 160
FRAME_PX = 5
GAP_PX = 14
TEXT_PX = 15
LINE_PX = 20
RIGHT = (0, 122, 61)
WRONG = (190, 30, 45)
PAPER = (255, 255, 255)
INK = (40, 40, 40)


@dataclass(frozen=True)
class Tile:
    """A picture uint8 H W 3, the class predicted for it with its probability, the true class."""

    picture: NDArray[np.uint8]
    predicted: str
    probability: float
    true: str


def write_sheet(path: Path, tiles: Sequence[Tile], title: str) -> None:
    """Write `tiles` in rows as PNG: a frame in green, or in red with the true class below, so
    that nobody has to tell the two colours apart. Raises `NoRoom`.
    """
    columns = max(1, math.ceil(math.sqrt(len(tiles))))
    rows = max(1, math.ceil(len(tiles) / columns))
    wide, tall = SIDE_PX + 2 * FRAME_PX + GAP_PX, SIDE_PX + 2 * FRAME_PX + 2 * LINE_PX + GAP_PX
    top = LINE_PX + GAP_PX
    sheet = Image.new("RGB", (columns * wide + GAP_PX, rows * tall + top + GAP_PX), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(TEXT_PX)
    right = sum(tile.predicted == tile.true for tile in tiles)
    draw.text((GAP_PX, GAP_PX), f"{title}: {right} of {len(tiles)} right", INK, font)
    for number, tile in enumerate(tiles):
        left = GAP_PX + number % columns * wide
        above = GAP_PX + top + number // columns * tall
        _draw(sheet, draw, font, tile, left, above)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def _draw(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    tile: Tile,
    left: int,
    above: int,
) -> None:
    colour = RIGHT if tile.predicted == tile.true else WRONG
    outer = SIDE_PX + 2 * FRAME_PX
    draw.rectangle((left, above, left + outer - 1, above + outer - 1), colour)
    picture = _fitted(tile.picture)
    # Centred on paper: a frame of even width whatever the picture's shape.
    field = Image.new("RGB", (SIDE_PX, SIDE_PX), PAPER)
    field.paste(picture, ((SIDE_PX - picture.width) // 2, (SIDE_PX - picture.height) // 2))
    sheet.paste(field, (left + FRAME_PX, above + FRAME_PX))
    lines = [_cut(draw, font, tile.predicted, outer, f" {tile.probability:.2f}")]
    if tile.predicted != tile.true:
        lines.append(_cut(draw, font, f"is {tile.true}", outer))
    for number, line in enumerate(lines):
        at = (left, above + outer + 2 + number * LINE_PX)
        draw.text(at, line, colour if number == 0 else INK, font)


def _fitted(picture: NDArray[np.uint8]) -> Image.Image:
    """As large as the field allows; small ones by a whole factor, so that pixels stay squares."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    factor = SIDE_PX / max(image.size)
    if factor >= 2:
        whole = math.floor(factor)
        return image.resize((image.width * whole, image.height * whole), Image.Resampling.NEAREST)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.BILINEAR)


def _cut(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    text: str,
    width_px: int,
    after: str = "",
) -> str:
    """`text` and `after` in one line of `width_px`; what does not fit of `text` is left out."""
    text = printable(text)
    whole = text
    while text and draw.textlength(whole + after, font) > width_px:
        text = text[:-1]
        whole = f"{text}…"
    return whole + after
