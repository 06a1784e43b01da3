"""Every byte string becomes a picture or a reason; nothing is made up, nothing blows up."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from opsin.data.decode import Limits, Note, Undecodable, decode, decode_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from pictures import HUGE_HEADERS, bomb, chunk, png, tiff  # noqa: E402

Encode = Callable[..., bytes]
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]
SUFFIX = dict(zip(FORMATS, [".jpg", ".png", ".webp", ".gif", ".bmp", ".tiff"], strict=True))


def refused(data: bytes, name: str = "", limits: Limits | None = None) -> Undecodable:
    with pytest.raises(Undecodable) as caught:
        decode(data, name=name, limits=limits or Limits())
    return caught.value


def codes(notes: tuple[Note, ...]) -> list[str]:
    return [note.code for note in notes]


# --- what is used ---


@pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_back_the_pixels(
    format_: str, encode: Encode, photo: NDArray[np.uint8]
) -> None:
    picture = decode(encode(format_), name=f"a{SUFFIX[format_]}")
    assert np.array_equal(picture.image, photo)
    assert picture.image.dtype == np.uint8
    assert picture.image.flags.c_contiguous
    assert (picture.format, picture.mode, picture.notes) == (format_, "RGB", ())


@pytest.mark.parametrize("format_", ["JPEG", "WEBP"])
def test_lossy_formats_come_close(format_: str, encode: Encode, photo: NDArray[np.uint8]) -> None:
    picture = decode(encode(format_, quality=95))
    assert picture.image.shape == photo.shape
    assert np.abs(picture.image.astype(int) - photo).mean() < 3
    assert picture.format == {"WEBP": "WebP"}.get(format_, format_)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("named", FORMATS)
def test_opened_by_content_never_by_extension(format_: str, named: str, encode: Encode) -> None:
    data = encode(format_)
    picture = decode(data, name=f"a{SUFFIX[named].upper()}")
    assert np.array_equal(picture.image, decode(data).image)
    expected = [] if format_ == named else ["extension_mismatch"]
    assert codes(picture.notes) == expected
    if expected:
        word = {"WEBP": "WebP"}.get(format_, format_)
        assert str(picture.notes[0]) == f"extension_mismatch: looks like {word}"


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_as_pillow_itself_applies_it(
    format_: str, orientation: int, encode: Encode
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(format_, exif=exif)
    with Image.open(io.BytesIO(data)) as opened:
        wanted = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    picture = decode(data)
    assert np.array_equal(picture.image, wanted)
    assert picture.image.shape == ((56, 40, 3) if orientation >= 5 else (40, 56, 3))
    assert picture.image.flags.c_contiguous
    assert codes(picture.notes) == ([] if orientation == 1 else ["rotated"])


@pytest.mark.parametrize("format_", ["PNG", "WEBP"])
def test_damaged_exif_is_said_and_the_picture_used(
    format_: str, encode: Encode, photo: NDArray[np.uint8]
) -> None:
    picture = decode(encode(format_, exif=b"Exif\0\0XX*\0\x08\0\0\0"))
    assert codes(picture.notes) == ["exif_unreadable"]
    assert picture.image.shape == photo.shape


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation(format_: str, encode: Encode) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    lossless = {"lossless": True} if format_ == "WEBP" else {}
    data = encode(format_, frames[0], save_all=True, append_images=frames[1:], **lossless)
    picture = decode(data)
    assert picture.image.shape == (10, 20, 3)
    assert (picture.image == (255, 0, 0)).all()
    assert str(next(note for note in picture.notes if note.code == "first_frame")) == (
        "first_frame_of 3"
    )


def test_a_phone_s_jpeg_with_further_pictures_behind_it_is_a_jpeg(encode: Encode) -> None:
    first, second = Image.new("RGB", (20, 10), "red"), Image.new("RGB", (20, 10), "blue")
    picture = decode(encode("MPO", first, save_all=True, append_images=[second]), name="a.jpg")
    assert picture.format == "JPEG"
    assert np.abs(picture.image.astype(int) - (255, 0, 0)).max() < 4


# --- what is refused ---


def test_no_bytes() -> None:
    error = refused(b"", "a.png")
    assert error.code == "empty_file"
    assert error.where == "a.png"
    assert error.exit_code == 3


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_never_filled_up(
    format_: str, share: float, encode: Encode, photo: NDArray[np.uint8]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(format_, Image.fromarray(noise))
    part = data[: int(len(data) * share)]
    error = refused(part)
    assert error.code == "truncated"
    assert f"{len(part):,} bytes present" in error.message


def test_truncation_is_recognised_where_only_one_sign_tells(encode: Encode) -> None:
    deflated = encode("TIFF", compression="tiff_deflate")
    assert refused(deflated[:-30]).code == "truncated"
    strip_beyond_the_end = (
        tiff(64, 64, b"\0" * 64, bits=8)
        .replace(
            (259).to_bytes(2, "little") + b"\3\0\1\0\0\0\1\0",  # uncompressed, to deflated
            (259).to_bytes(2, "little") + b"\3\0\1\0\0\0\x08\0",
        )
        .replace(
            (64).to_bytes(4, "little") + (339).to_bytes(2, "little"),
            (6400).to_bytes(4, "little") + (339).to_bytes(2, "little"),
        )
    )
    assert refused(strip_beyond_the_end).code == "truncated"
    bmp = encode("BMP")
    without_its_size = bmp[:2] + b"\0" * 4 + bmp[6:]
    assert decode(without_its_size).format == "BMP"
    assert refused(without_its_size[:-30]).code == "truncated"


def test_a_few_bytes_of_a_signature_are_a_truncated_file() -> None:
    assert refused(b"\x89PN").code == "truncated"
    assert refused(b"RIFF\0\0\0\0WE").code == "truncated"


def test_damage_that_still_decodes_is_found_by_the_checksums(
    encode: Encode, photo: NDArray[np.uint8]
) -> None:
    data = encode("PNG")
    broken = data[:-40] + b"\0" * 20 + data[-20:]
    with Image.open(io.BytesIO(broken)) as opened:  # Pillow alone does not see it
        assert not np.array_equal(np.asarray(opened), photo)
    error = refused(broken)
    assert error.code == "image_undecodable"
    assert "checksum of IDAT" in error.message


def test_nobody_switched_pillow_s_leniency_on(encode: Encode) -> None:
    refused(encode("JPEG")[:-200])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def zip_of_a_picture() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", b"\x89PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"<!DOCTYPE html><html><body>404</body></html>", "text/html"),
        (b"\xef\xbb\xbf\n <HTML>", "text/html"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "application/postscript"),
        (zip_of_a_picture(), "application/zip"),
        (b"%PDF-1.7\n", "application/pdf"),
        (b"P6 16 16 255\n" + b"\0" * 768, "image/x-portable-anymap"),
        (b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0", "image/x-icon"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "image/avif"),
        (b"\x80\x02}q\0.", "application/x-python-pickle"),
        (b"\x80\x03}q\0.", "application/x-python-pickle"),
        (b"\x80\x04\x95\0\0\0\0", "application/x-python-pickle"),
        (b"\x80\x05\x95\0\0\0\0", "application/x-python-pickle"),
        ("a Größe".encode() * 200, "text/plain"),
        (b"\0" * 100, "an unknown kind of data"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, kind: str) -> None:
    error = refused(data, "a.jpg")
    assert str(error).startswith(
        f"a.jpg: unsupported_format: {kind}; allowed JPEG, PNG, WebP, GIF, BMP, TIFF"
    )


def test_formats_that_only_pillow_would_open_are_refused(encode: Encode) -> None:
    for format_ in ("PPM", "ICO", "TGA", "JPEG2000", "PCX"):
        assert refused(encode(format_), "a.png").code == "unsupported_format"


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 1), (1, 3), (7, 100), (100, 7)])
def test_too_small(width: int, height: int, encode: Encode) -> None:
    for format_ in FORMATS:
        error = refused(encode(format_, Image.new("RGB", (width, height))))
        assert (error.code, error.message) == ("too_small", f"{width}×{height}, minimum 8×8")
    assert decode(encode("PNG", Image.new("RGB", (8, 8)))).image.shape == (8, 8, 3)


def test_the_limits_are_settings_and_exact(encode: Encode) -> None:
    data = encode("PNG", Image.new("L", (100, 50)))
    assert decode(data, limits=Limits(max_pixels=5000)).image.shape == (50, 100, 3)
    error = refused(data, limits=Limits(max_pixels=4999))
    assert (error.code, error.message) == ("too_many_pixels", "0.005 MP, limit 0.004999 MP")
    assert decode(encode("PNG", Image.new("L", (1, 1))), limits=Limits(min_side_px=1)).image.size


@pytest.mark.parametrize("kind", sorted(HUGE_HEADERS))
def test_a_huge_picture_is_refused_from_its_header(kind: str) -> None:
    error = refused(HUGE_HEADERS[kind])
    assert error.code == "too_many_pixels"
    assert error.message.endswith(" MP, limit 50 MP")


BOMB_PROGRAM = """
import json, resource, sys, time
from opsin.data.decode import Undecodable, decode
small, bomb = (open(path, "rb").read() for path in sys.argv[1:])
decode(small)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
times = []
for _ in range(5):
    start = time.perf_counter()
    try:
        decode(bomb)
        message = "decoded"
    except Undecodable as error:
        message = str(error)
    times.append(time.perf_counter() - start)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"message": message, "seconds": min(times), "megabytes": (after - before) / 1e3}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
def test_a_bomb_costs_neither_time_nor_memory(tmp_path: Path, encode: Encode) -> None:
    (tmp_path / "small.png").write_bytes(encode("PNG"))
    (tmp_path / "bomb.png").write_bytes(bomb())
    assert (tmp_path / "bomb.png").stat().st_size < 60_000
    command = [sys.executable, "-c", BOMB_PROGRAM, "small.png", "bomb.png"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    measured = json.loads(run.stdout)
    assert measured["message"].startswith("too_many_pixels: 400 MP, limit 50 MP")
    assert measured["seconds"] < 0.05
    assert measured["megabytes"] < 50


def test_a_broken_checksum_is_damage_not_truncation(encode: Encode) -> None:
    data = bytearray(encode("PNG"))
    data[data.index(b"IDAT") + 10] ^= 0xFF
    assert refused(bytes(data)).code == "image_undecodable"


def test_whatever_is_flipped_or_cut_there_is_an_answer(encode: Encode) -> None:
    random = np.random.default_rng(7)
    refusals = 0
    for format_ in FORMATS:
        good = encode(format_)
        for _ in range(150):
            data = bytearray(good)
            for place in random.integers(0, min(len(data), 300), 3):
                data[place] = random.integers(0, 256)
            try:
                picture = decode(bytes(data))
            except Undecodable:
                refusals += 1
            else:
                assert picture.image.dtype == np.uint8
                assert picture.image.ndim == 3
    assert refusals > 100


# --- files ---


def test_a_file_and_its_name(tmp_path: Path, encode: Encode, photo: NDArray[np.uint8]) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encode("PNG"))
    picture = decode_file(path)
    assert np.array_equal(picture.image, photo)
    assert codes(picture.notes) == ["extension_mismatch"]


NAMES = [b"a b.png", "🐈.png".encode(), b"a\nb.png", b"\xff\xfe.png", b"x" * 251 + b".png"]


@pytest.mark.parametrize("name", NAMES, ids=["space", "emoji", "newline", "not UTF-8", "255"])
def test_strange_file_names(name: bytes, tmp_path: Path, encode: Encode) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(encode("PNG"))
    assert decode_file(path).image.shape == (40, 56, 3)
    path.write_bytes(b"")
    with pytest.raises(Undecodable) as caught:
        decode_file(path)
    assert caught.value.where == str(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    def code(path: Path) -> str:
        with pytest.raises(Undecodable) as caught:
            decode_file(path)
        return caught.value.code

    assert code(tmp_path / "absent.png") == "missing_file"
    assert code(tmp_path) == "read_failed"
    os.mkfifo(tmp_path / "pipe.png")
    assert code(tmp_path / "pipe.png") == "read_failed"
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate((1 << 30) + 1)
    assert code(tmp_path / "huge.png") == "file_too_large"


DENIED_PROGRAM = """
import os, sys
from pathlib import Path
from opsin.data.decode import Undecodable, decode_file
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    decode_file(Path(sys.argv[1]))
except Undecodable as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="no users to be on this system")
def test_a_file_of_somebody_else(tmp_path: Path, encode: Encode) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode("PNG"))
    path.chmod(0)
    command = [sys.executable, "-c", DENIED_PROGRAM, str(path)]
    run = subprocess.run(command, capture_output=True, check=True, text=True)
    wanted = f"{path}: permission_denied: {path}; run as a user who can read it\n"
    assert run.stdout == wanted


# --- manners ---


def with_a_warning() -> bytes:
    """A TIFF whose tag says that it is longer than the file: Pillow warns, and reads it."""
    data = bytearray(tiff(16, 16, bytes(512)))
    start = 8 + 512
    data[start + 2 + 9 * 12 :][:12]
    offset = start + 2 + 9 * 12
    data[offset : offset + 12] = b"\x1a\x01\x05\0\x01\0\0\0\xff\xff\xff\x00"
    return bytes(data)


def test_pillow_warns_of_this_picture() -> None:
    with pytest.warns(UserWarning, match=r"."), Image.open(io.BytesIO(with_a_warning())) as image:
        image.load()


def test_warnings_stay_inside_and_the_filters_as_they_were() -> None:
    before = list(warnings.filters)
    assert decode(with_a_warning()).image.shape == (16, 16, 3)
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", stacklevel=1)


def test_warnings_stay_inside_with_many_threads() -> None:
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        pictures = list(pool.map(decode, [with_a_warning()] * 200))
    assert len(pictures) == 200
    assert warnings.filters == before


def test_the_same_bytes_give_the_same_pixels_in_threads(encode: Encode) -> None:
    data = encode("JPEG")
    wanted = decode(data).image
    with ThreadPoolExecutor(8) as pool:
        assert all(np.array_equal(p.image, wanted) for p in pool.map(decode, [data] * 64))


def test_a_text_bomb_in_a_png_is_refused() -> None:
    import zlib

    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * (64 << 20)))
    assert refused(png(8, 8, 8, 0, bytes(64), extra=text)).code == "image_undecodable"
