"""The sheet of augmented pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import opsin
from opsin.core.errors import DataRefused, WrongUsage
from opsin.data.augment.sheet import Cell, draw_sheet


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of flat pictures, one of them broken."""
    root = tmp_path / "photos"
    for name, level in (("cat", 60), ("dog", 120), ("owl", 180)):
        (root / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (40, 30), (level, level + number, level)).save(
                root / name / f"{number}.png"
            )
    return root


def test_rows_are_spread_over_the_classes(photos: Path, tmp_path: Path) -> None:
    made = opsin.augment(photos, rows=5, columns=3, image_size=32, output=tmp_path / "s.png")
    classes = [name.split("/")[0] for name in made.shown]
    assert classes == ["cat", "dog", "owl", "cat", "dog"]
    assert len(set(made.shown)) == 5
    assert made.recipe == "light"
    assert not made.findings
    first = made.path.read_bytes()
    opsin.augment(photos, rows=5, columns=3, image_size=32, output=tmp_path / "s.png")
    assert made.path.read_bytes() == first, "the same every time"
    opsin.augment(photos, rows=5, columns=3, image_size=32, seed=1, output=tmp_path / "s.png")
    assert made.path.read_bytes() != first


def test_unreadable_pictures_are_left_out_and_named(photos: Path, tmp_path: Path) -> None:
    for file in (photos / "cat").iterdir():
        file.write_bytes(file.read_bytes()[:50])
    made = opsin.augment(photos, rows=6, columns=2, image_size=16, output=tmp_path / "s.png")
    assert len(made.shown) == 6
    assert {where for finding in made.findings for where in finding.where} == {
        f"cat/{number}.png" for number in range(3)
    }
    for file in [*(photos / "dog").iterdir(), *(photos / "owl").iterdir()]:
        file.write_bytes(b"no picture")
    with pytest.raises(DataRefused, match="no picture can be read"):
        opsin.augment(photos, output=tmp_path / "t.png")
    assert not (tmp_path / "t.png").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"augment": "rotat"}, "did you mean"),
        ({"rows": 0}, "1 to 100"),
        ({"columns": 1}, "2 to 50"),
        ({"image_size": 4}, "8 to 1024"),
        ({"seed": -1}, "seed"),
        ({"output": "sheet.jpg"}, "PNG"),
        ({"output": "nowhere/sheet.png"}, "no such folder"),
    ],
)
def test_refused(photos: Path, more: dict[str, object], said: str) -> None:
    with pytest.raises(WrongUsage, match=said):
        opsin.augment(photos, **more)  # type: ignore[arg-type]


def test_nothing_on_the_sheet_overlaps(tmp_path: Path) -> None:
    """Black pictures on a page whose words are made invisible by their place: below each picture
    there is room for all its lines, and no line is wider than its picture.
    """
    long = "a_very_long_name_without_any_space_that_has_to_be_cut_somewhere.jpg"
    words = ("rotate +12°", "brightness ×1.13", long, "grün 55% 貓 \n")
    picture = np.zeros((3, 150, 150), np.uint8)
    rows = [[Cell(picture, words), Cell(picture, ())]] * 2
    file = tmp_path / "sheet.png"
    file.write_bytes(draw_sheet(rows, title="x" * 300))
    page = np.asarray(Image.open(file))
    ink = (page < 250).any(axis=2)
    assert not ink[:, :8].any(), "a letter may lean out by a pixel"
    assert not ink[:, -8:].any()
    assert not ink[-5:].any()
    blank = ~ink.any(axis=1)
    whole = np.flatnonzero((page[:, 170:320] == 0).all(axis=(1, 2)))
    assert len(whole) == 2 * 150
    assert not ink[whole[0] :, 162:168].any(), "between the columns"
    second = whole[150]
    assert blank[second - 5 : second].all(), "room above the second row"


def test_no_file_but_an_older_sheet_is_written_over(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("a", "b"):
        (data / name).mkdir(parents=True)
        Image.new("RGB", (20, 20), (9, 9, 9)).save(data / name / "1.png")
    before = (data / "a" / "1.png").read_bytes()
    with pytest.raises(WrongUsage, match="inside the data folder") as caught:
        opsin.augment(data, augment="hflip", output=data / "a" / "1.png")
    assert caught.value.code == "output_in_data"
    assert (data / "a" / "1.png").read_bytes() == before
    mine = tmp_path / "mine.png"
    mine.write_bytes(before)
    with pytest.raises(WrongUsage, match="no sheet of opsin's"):
        opsin.augment(data, augment="hflip", output=mine)
    assert mine.read_bytes() == before
    sheet = opsin.augment(data, augment="hflip", output=tmp_path / "sheet.png").path
    first = sheet.read_bytes()
    opsin.augment(data, augment="vflip", output=sheet)
    assert sheet.read_bytes() != first
