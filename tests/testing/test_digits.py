"""The digits written as files: complete, with exactly the faults that were asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError
from sklearn.datasets import load_digits

from opsin.core.errors import NoRoom
from opsin.testing.digits import digit_files, is_digits, write_digits


def test_every_digit_is_a_picture_with_its_own_pixels(tmp_path: Path) -> None:
    folder = write_digits(tmp_path / "digits", planted_faults=False)
    digits = load_digits()
    paths = sorted(folder.rglob("*.png"), key=lambda path: path.stem)
    assert len(paths) == len(digits.target) == 1797
    for path, grey, digit in zip(paths, digits.images, digits.target, strict=True):
        with Image.open(path) as image:
            assert image.mode == "L"
            assert image.size == (32, 32)
            np.testing.assert_array_equal(
                np.asarray(image)[::4, ::4], np.round(grey * 255 / 16).astype(np.uint8)
            )
        assert path.parent.name == str(digit)


def test_the_planted_faults_are_these_three() -> None:
    clean, faulty = digit_files(5, False), digit_files(5, True)
    assert len(clean) == 50
    assert set(faulty) - set(clean) == {"5/digit-0005.jpg", "7/digit-0001.png"}
    assert set(clean) - set(faulty) == {"5/digit-0005.png"}
    assert {name for name in set(clean) & set(faulty) if clean[name] != faulty[name]} == {
        "3/digit-0003.png"
    }
    assert faulty["5/digit-0005.jpg"].startswith(b"\x89PNG")
    assert faulty["7/digit-0001.png"] == faulty["1/digit-0001.png"]


def test_the_truncated_file_does_not_decode(tmp_path: Path) -> None:
    write_digits(tmp_path / "digits", per_class=2)
    with (
        pytest.raises((OSError, UnidentifiedImageError)),
        Image.open(tmp_path / "digits" / "3" / "digit-0003.png") as image,
    ):
        image.load()


def test_a_second_call_changes_nothing_and_a_changed_folder_is_refused(tmp_path: Path) -> None:
    folder = write_digits(tmp_path / "digits", per_class=2)
    one = folder / "0" / "digit-0000.png"
    before = one.stat().st_mtime_ns
    assert write_digits(folder, per_class=2) == folder
    assert one.stat().st_mtime_ns == before

    one.write_bytes(b"mine")
    assert not is_digits(folder, per_class=2)
    with pytest.raises(NoRoom, match="nothing is overwritten"):
        write_digits(folder, per_class=2)
    assert one.read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]
