"""The preview sheet: rows of one picture each, words under every cell, one PNG."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from opsin.core.printable import printable

SOFTWARE = "opsin augment"
"""Written into each sheet, so that it is known for one."""
FONT_PX = 12
LINE_PX = 15
GAP_PX = 10
NARROWEST_PX = 150
INK, FAINT, PAPER = (25, 25, 25), (110, 110, 110), (255, 255, 255)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Cell:
    """`image`: uint8 3 H W. `lines`: what is said under it, a part each."""

    image: NDArray[np.uint8]
    lines: tuple[str, ...]


def draw_sheet(rows: Sequence[Sequence[Cell]], *, title: str) -> bytes:
    """The bytes of a PNG. Small pictures are enlarged by whole numbers, so that each pixel shows;
    long words are broken, and a row is as high as its longest text.
    """
    font = _font()
    height, width = rows[0][0].image.shape[1:]
    factor = max(1, -(-NARROWEST_PX // width))
    wide, tall = width * factor, height * factor
    columns = max(len(row) for row in rows)
    texts = [[_wrapped(cell.lines, wide, font) for cell in row] for row in rows]
    under = [max(len(text) for text in row) * LINE_PX + GAP_PX for row in texts]
    heading = _wrapped((title,), columns * (wide + GAP_PX) - GAP_PX, font)
    top = GAP_PX + len(heading) * LINE_PX + GAP_PX
    size = (GAP_PX + columns * (wide + GAP_PX), top + sum(tall + 4 + text for text in under))
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(heading):
        pen.text((GAP_PX, GAP_PX + number * LINE_PX), line, INK, font)
    for row, row_texts, text_px in zip(rows, texts, under, strict=True):
        for column, (cell, text) in enumerate(zip(row, row_texts, strict=True)):
            left = GAP_PX + column * (wide + GAP_PX)
            picture = Image.fromarray(np.ascontiguousarray(cell.image.transpose(1, 2, 0)))
            sheet.paste(picture.resize((wide, tall), Image.Resampling.NEAREST), (left, top))
            for number, line in enumerate(text):
                place = (left, top + tall + 4 + number * LINE_PX)
                pen.text(place, line, FAINT if column else INK, font)
        top += tall + 4 + text_px
    buffer = io.BytesIO()
    mark = PngInfo()
    mark.add_text("Software", SOFTWARE)
    sheet.save(buffer, "PNG", pnginfo=mark)
    return buffer.getvalue()


def _font() -> Font:
    """DejaVu, which knows most alphabets, where matplotlib brought it; else Pillow's own."""
    found = importlib.util.find_spec("matplotlib")
    if found and found.origin:
        file = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        with contextlib.suppress(OSError):
            return ImageFont.truetype(str(file), FONT_PX - 1)
    return ImageFont.load_default(FONT_PX)


def _wrapped(parts: Sequence[str], width_px: int, font: Font) -> list[str]:
    """Lines of at most `width_px`: parts with commas between them, cut where one is too long."""
    lines: list[str] = []
    for number, part in enumerate(parts):
        text = printable(part) + ("," if number < len(parts) - 1 else "")
        for word in [text] if font.getlength(text) <= width_px else text.split(" "):
            longer = f"{lines[-1]} {word}" if lines else word
            if lines and font.getlength(longer) <= width_px:
                lines[-1] = longer
                continue
            while font.getlength(word) > width_px and len(word) > 1:
                cut = next(
                    n
                    for n in range(len(word), 0, -1)
                    if font.getlength(word[:n]) <= width_px or n == 1
                )
                lines.append(word[:cut])
                word = word[cut:]
            lines.append(word)
    return lines


def is_sheet(path: Path) -> bool:
    """Whether the file at `path` was drawn by `draw_sheet`."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return picture.info.get("Software") == SOFTWARE
    except (OSError, ValueError, SyntaxError):
        return False
