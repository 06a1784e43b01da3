"""Pillow's own 287 odd and broken pictures, through the isolated scan."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opsin.data.decode import decode_file
from opsin.data.quiet import pillow_warnings_ignored
from opsin.data.record import FileRecord
from opsin.data.scan import scan

BROKEN = {"truncated", "image_undecodable", "too_many_pixels"}


def records_of(folder: Path) -> dict[str, FileRecord]:
    files = [(path.name, path) for path in sorted(folder.iterdir())]
    assert files
    return {record.source_id: record for record in scan(files)}


def test_each_unreadable_picture_gets_a_reason(shared_data: Path) -> None:
    records = records_of(shared_data / "odd_images/unreadable")
    assert len(records) == 43
    wrong = {name: r.error for name, r in records.items() if r.error not in BROKEN}
    assert wrong == {}, "none crashes the decoder, none is taken for a good picture"
    known = {
        "broken_data_stream.png": "truncated",
        "decompression_bomb.gif": "too_many_pixels",
        "reallybig.bmp": "too_many_pixels",
        "shortfile.bmp": "truncated",
        "truncated_image.png": "truncated",
        "truncated_jpeg.jpg": "truncated",
        "unknown_compression_method.png": "image_undecodable",
    }
    assert {name: records[name].error for name in known} == known
    counts = Counter(record.error for record in records.values())
    assert counts["image_undecodable"] > counts["truncated"] > counts["too_many_pixels"] > 0


def test_each_odd_picture_is_used_unless_too_small(shared_data: Path) -> None:
    folder = shared_data / "odd_images/odd"
    records = records_of(folder)
    assert len(records) == 244
    for name, record in records.items():
        with pillow_warnings_ignored(), Image.open(folder / name) as image:
            small = min(image.size) < 8
        assert record.error == ("too_small" if small else None), name
    used = [record for record in records.values() if record.error is None]
    notes = Counter(note.code for record in used for note in record.notes)
    assert len(used) == 229
    assert notes["rotated"] == 24
    assert notes["first_frame"] > 60
    assert {"CMYK", "I;16", "LAB", "P", "1", "LA", "RGBA"} <= {record.mode for record in used}


PNG_OF_BMP = ["pal1", "pal1bg", "pal4", "pal8", "pal8w124", "pal8w125", "pal8w126"]


@pytest.mark.parametrize("name", PNG_OF_BMP)
def test_bmp_files_against_their_reference_pngs(name: str, shared_data: Path) -> None:
    folder = shared_data / "odd_images/odd"
    bmp = decode_file(folder / f"{name}.bmp").image
    png = decode_file(folder / f"{name}.png").image
    # a sixth of 255 is 42.5, and the two palettes were rounded differently
    assert np.abs(bmp.astype(int) - png).max() <= 1


@pytest.mark.parametrize("number", range(2, 9))
@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_eight_orientations_show_one_picture(number: int, suffix: str, shared_data: Path) -> None:
    folder = shared_data / "odd_images/odd"
    wanted = decode_file(folder / "hopper.gif")
    image = decode_file(folder / f"hopper_orientation_{number}.{suffix}").image
    assert image.shape == wanted.image.shape
    # another file of the same photo, in 256 colours; any other turn differs by more than 40
    assert np.abs(image.astype(int) - wanted.image).mean() < 15
    assert np.abs(image.astype(int) - wanted.image[::-1]).mean() > 30


def test_eight_orientations_of_a_fax(shared_data: Path) -> None:
    folder = shared_data / "odd_images/odd"
    pictures = [decode_file(folder / f"g4_orientation_{n}.tif").image for n in range(1, 9)]
    for picture in pictures:
        assert picture.shape == pictures[0].shape
        # of these black and white pixels, a few at the edges differ from file to file
        assert (picture != pictures[0]).mean() < 0.01
        assert (picture[::-1] != pictures[0]).mean() > 0.01


@pytest.mark.parametrize("name", ["16bit.MM.cropped.tif", "16bit.deflate.tif", "16_bit_noise.tif"])
def test_16_bit_pictures_are_scaled(name: str, shared_data: Path) -> None:
    path = shared_data / "odd_images/odd" / name
    with Image.open(path) as image:
        raw = np.asarray(image).astype(int)
    assert raw.max() > 255
    assert np.array_equal(decode_file(path).image[:, :, 0], raw // 256)
