"""JPEGs by simplejpeg: Pillow's pixels, fewer of them where a spec allows, and damage is seen."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from opsin.core.preprocess import PreprocessSpec
from opsin.data import jpeg
from opsin.data.decode import Decoded, Limits, Undecodable, decode, decode_file

simplejpeg = pytest.importorskip("simplejpeg")

SCALES = (1, 2, 4, 8)
ANY_SIZE = Limits(min_side_px=1)


def scene(width: int, height: int) -> Image.Image:
    """Colours, edges and noise: nothing that a wrong upsampling could leave as it is."""
    draw = np.random.default_rng(width * 1000 + height)
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([x * 255 / width, y * 255 / height, (x * 7 + y * 3) % 256], axis=-1)
    picture[height // 4 : height // 2, width // 3 : width // 2] = (255, 30, 0)
    return Image.fromarray(np.clip(picture + draw.normal(0, 9, picture.shape), 0, 255).astype("u1"))


def saved(picture: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **options)
    return buffer.getvalue()


KINDS: dict[str, Callable[[Image.Image], bytes]] = {
    "4:4:4": lambda picture: saved(picture, subsampling=0, quality=95),
    "4:2:2": lambda picture: saved(picture, subsampling=1),
    "4:2:0": lambda picture: saved(picture, subsampling=2),
    "4:2:0 progressive": lambda picture: saved(picture, subsampling=2, progressive=True),
    "4:4:4 progressive": lambda picture: saved(picture, subsampling=0, progressive=True),
    "restart markers": lambda picture: saved(picture, restart_marker_blocks=3),
    "restart, progressive": lambda picture: saved(picture, restart_marker_rows=1, progressive=True),
    "coarse": lambda picture: saved(picture, quality=5),
    "RGB, Adobe's flag": lambda picture: saved(picture, keep_rgb=True),
    "grey": lambda picture: saved(picture.convert("L")),
    "grey progressive": lambda picture: saved(picture.convert("L"), progressive=True),
    "CMYK": lambda picture: saved(picture.convert("CMYK")),
    **{
        f"{sampling} by turbo": lambda picture, sampling=sampling: simplejpeg.encode_jpeg(  # type: ignore[misc]
            np.ascontiguousarray(np.asarray(picture)), 85, "RGB", sampling
        )
        for sampling in ("440", "411")
    },
}
SIZES = [(8, 8), (9, 9), (17, 13), (31, 33), (64, 48), (123, 77), (100, 7), (1, 1), (3, 5)]


def pillows(data: bytes, scale: int = 1) -> NDArray[np.uint8]:
    """What Pillow alone makes of it."""
    with JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as picture:  # type: ignore[no-untyped-call]
        if scale > 1:
            picture.draft(None, (picture.width // scale, picture.height // scale))
        return np.asarray(picture.convert("RGB"))


def at_scale(scale: int, data: bytes) -> PreprocessSpec | None:
    """A spec by which `data` is decoded at exactly this scale."""
    with Image.open(io.BytesIO(data)) as picture:
        width, height = picture.size
    target = (max(1, height // scale), max(1, width // scale))
    return PreprocessSpec(size_px=target, jpeg_gap=1) if scale > 1 else None


@pytest.fixture
def without_simplejpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "_turbo", lambda: None)


# --- the same pixels ---


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", KINDS)
def test_pillows_pixels_at_every_scale(kind: str, scale: int) -> None:
    for width, height in SIZES:
        if min(width, height) < scale:
            continue
        data = KINDS[kind](scene(width, height))
        spec = at_scale(scale, data)
        picture = decode(data, limits=ANY_SIZE, spec=spec)
        assert picture.image.shape == (-(-height // scale), -(-width // scale), 3)
        assert picture.size_px == (height, width)
        np.testing.assert_array_equal(picture.image, pillows(data, scale), f"{width} x {height}")


def real_jpegs(root: Path) -> list[Path]:
    """Every odd one, and of each set as many as the time of a test allows."""
    files = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower()[:3] == ".jp")
        step = 1 if folder.name == "odd_images" else max(1, len(found) // 25)
        files += found[::step]
    return files


def test_real_photos_are_pillows_and_none_is_refused(shared_data: Path) -> None:
    files = [path for path in real_jpegs(shared_data) if path.parent.name != "unreadable"]
    assert len(files) > 150
    compared = 0
    for path in files:
        data = path.read_bytes()
        if data[:2] != b"\xff\xd8":
            continue
        picture = decode(data, name=path.name, limits=ANY_SIZE)
        if "rotated" in {note.code for note in picture.notes}:
            continue
        np.testing.assert_array_equal(picture.image, pillows(data), str(path))
        scale = SCALES[compared % 4]
        if min(picture.size_px) >= scale:
            smaller = decode(data, limits=ANY_SIZE, spec=at_scale(scale, data)).image
            np.testing.assert_array_equal(smaller, pillows(data, scale), f"{path} / {scale}")
        compared += 1
    assert compared > 120


def test_it_is_simplejpeg_that_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = KINDS["4:2:0"](scene(40, 30))
    wanted = pillows(data)

    def load(self: object) -> None:
        raise AssertionError("Pillow decodes a plain JPEG")

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", load)
    np.testing.assert_array_equal(decode(data).image, wanted)


@pytest.mark.usefixtures("without_simplejpeg")
@pytest.mark.parametrize("scale", SCALES)
def test_without_simplejpeg_nothing_changes(scale: int) -> None:
    data = KINDS["4:2:0"](scene(123, 77))
    without = decode(data, spec=at_scale(scale, data)).image
    np.testing.assert_array_equal(without, pillows(data, scale))
    with pytest.raises(Undecodable) as caught:
        decode(data[: len(data) // 2])
    assert caught.value.code == "truncated"


def test_where_it_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(KINDS["4:2:0"](scene(20, 10)))
    program = (
        "import sys; sys.modules['simplejpeg'] = None\n"
        "from pathlib import Path; from opsin.data.decode import decode_file\n"
        "print(decode_file(Path('a.jpg')).image.shape)"
    )
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "(10, 20, 3)"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_scaled_by_its_upright_sides(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(scene(160, 64), exif=exif)
    plain = Decoded(pillows(data, 4), "JPEG", "RGB", (), (64, 160))
    upright = (160, 64) if orientation >= 5 else (64, 160)
    spec = PreprocessSpec(size_px=(upright[0] // 4, upright[1] // 4), jpeg_gap=1)
    picture = decode(data, spec=spec)
    assert picture.size_px == upright
    assert picture.image.shape == (*spec.size_px, 3)
    turned = saved_upright(plain.image, orientation)
    np.testing.assert_array_equal(picture.image, turned)
    # the other way round, one side would not have the gap
    lying = PreprocessSpec(size_px=(spec.size_px[1], spec.size_px[0]), jpeg_gap=1)
    assert decode(data, spec=lying).image.shape[:2] == upright


def saved_upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """As Pillow's own `ImageOps.exif_transpose` turns it."""
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    picture = Image.fromarray(image)
    return np.asarray(picture.transpose(turns[orientation]) if orientation in turns else picture)


def test_only_jpegs_are_decoded_smaller() -> None:
    buffer = io.BytesIO()
    scene(160, 120).save(buffer, "PNG")
    picture = decode(buffer.getvalue(), spec=PreprocessSpec(size_px=(16, 16), jpeg_gap=1))
    assert picture.image.shape == (120, 160, 3)
    assert picture.size_px == (120, 160)


# --- damage ---


@pytest.mark.parametrize("scale", [1, 8])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.97])
@pytest.mark.parametrize("kind", KINDS)
def test_cut_short_with_an_end_marker_is_truncated(kind: str, share: float, scale: int) -> None:
    data = KINDS[kind](scene(128, 96))
    scan = data.rfind(b"\xff\xda")
    part = data[: scan + 14 + int((len(data) - scan - 16) * share)] + b"\xff\xd9"
    assert pillows(part).shape == (96, 128, 3), "Pillow alone does not see it"
    with pytest.raises(Undecodable) as caught:
        decode(part, name="a.jpg", spec=at_scale(scale, data))
    assert caught.value.code == "truncated"
    assert f"{len(part):,} bytes present" in caught.value.message


def test_real_photos_cut_short_with_an_end_marker(shared_data: Path, tmp_path: Path) -> None:
    files = sorted((shared_data / "pizza_steak_sushi/test").rglob("*.jpg"))[::10]
    assert files
    for path in files:
        data = path.read_bytes()
        (tmp_path / "cut.jpg").write_bytes(data[: len(data) * 2 // 3] + b"\xff\xd9")
        with pytest.raises(Undecodable) as caught:
            decode_file(tmp_path / "cut.jpg")
        assert caught.value.code == "truncated", path


def test_a_part_that_is_missing_in_the_middle() -> None:
    data = KINDS["restart markers"](scene(128, 96))
    first, third = data.index(b"\xff\xd0"), data.index(b"\xff\xd2")
    with pytest.raises(Undecodable) as caught:
        decode(data[:first] + data[third:])
    assert caught.value.code == "image_undecodable"
    assert "damaged JPEG" in caught.value.message


def test_bytes_too_many_before_the_end_are_said_and_the_picture_used() -> None:
    good = KINDS["4:2:0"](scene(64, 48))
    picture = decode(good[:-2] + b"\0\1\2\3\4" + good[-2:])
    assert [note.code for note in picture.notes] == ["extra_bytes"]
    np.testing.assert_array_equal(picture.image, pillows(good))
    behind = decode(good + b"\0\1\2\3\4")
    assert behind.notes == ()


def test_damage_is_never_taken_for_more_than_pillow_takes_it() -> None:
    draw = np.random.default_rng(3)
    kinds = [KINDS[name](scene(96, 72)) for name in ("4:2:0", "grey", "CMYK", "restart markers")]
    used = refused = seen = 0
    for number in range(600):
        data = bytearray(kinds[number % len(kinds)])
        for place in draw.integers(2, len(data), 2):
            data[place] = draw.integers(0, 256)
        try:
            image = decode(bytes(data)).image
        except Undecodable:
            refused += 1
            try:
                pillows(bytes(data))
            except Exception:
                continue
            seen += 1  # which Pillow alone would have used
        else:
            used += 1
            try:
                np.testing.assert_array_equal(image, pillows(bytes(data)))
            except OSError as error:
                raise AssertionError("Pillow refuses what was used") from error
    assert used > 100
    assert refused > 100
    assert seen > 50
