"""The conversion rule against arithmetic done here, on files made by hand."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from opsin.data.decode import decode

sys.path.insert(0, str(Path(__file__).parent))
from pictures import chunk, png, tiff

Encode = Callable[..., bytes]
RAMP = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)


def grey(data: bytes) -> NDArray[np.uint8]:
    """The one channel of a picture whose three are equal."""
    image = decode(data).image
    assert (image == image[:, :, :1]).all()
    return image[:, :, 0]


def over_white(colour: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.float64]:
    share = alpha[:, :, None] / 255
    return colour * share + 255 * (1 - share)


def test_16_bit_grey_png_is_scaled_not_clipped() -> None:
    image = grey(png(64, 64, 16, 0, RAMP.astype(">u2").tobytes()))
    assert np.array_equal(image, RAMP // 256)
    assert len(np.unique(image)) == 256


def test_16_bit_colour_follows_the_same_rule_as_grey() -> None:
    rows = np.repeat(RAMP[:, :, None], 3, axis=2).astype(">u2").tobytes()
    assert np.array_equal(grey(png(64, 64, 16, 2, rows)), RAMP // 256)


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_16_bit_tiff_of_either_byte_order(byte_order: str, encode: Encode) -> None:
    if byte_order == "<":
        data = tiff(64, 64, RAMP.astype("<u2").tobytes())
    else:
        data = encode("TIFF", Image.fromarray(RAMP.astype(">u2")))
        assert data.startswith(b"MM")
    assert np.array_equal(grey(data), RAMP // 256)


def test_white_is_zero() -> None:
    data = tiff(64, 64, RAMP.astype("<u2").tobytes(), photometric=0)
    assert np.array_equal(grey(data), 255 - RAMP // 256)
    eight = tiff(64, 64, (RAMP // 256).astype(np.uint8).tobytes(), bits=8, photometric=0)
    assert np.array_equal(grey(eight), 255 - RAMP // 256)


def test_12_bit_tiff_is_scaled_by_its_own_range() -> None:
    values = np.linspace(0, 4095, 64 * 64).astype(int)
    pairs = values.reshape(-1, 2)
    packed = bytes(
        byte for a, b in pairs.tolist() for byte in (a >> 4, (a & 15) << 4 | b >> 8, b & 255)
    )
    image = grey(tiff(64, 64, packed, bits=12))
    assert np.array_equal(image, (values // 16).reshape(64, 64))
    assert image.max() == 255


def test_numbers_without_a_nominal_range_are_stretched() -> None:
    signed = np.linspace(-1000, 3000, 64 * 64).astype("<i2").reshape(64, 64)
    wanted = np.rint((signed.astype(float) + 1000) / 4000 * 255)
    assert np.array_equal(grey(tiff(64, 64, signed.tobytes(), sample_format=2)), wanted)
    floats = np.linspace(0, 1, 64 * 64).astype("<f4").reshape(64, 64)
    image = grey(tiff(64, 64, floats.tobytes(), bits=32, sample_format=3))
    assert np.abs(image - floats * 255).max() <= 0.5 + 1e-4


def test_floats_that_are_no_numbers_are_black() -> None:
    floats = np.linspace(-3e38, 3e38, 64).astype("<f4").reshape(8, 8)
    floats[0, :3] = (np.nan, np.inf, -np.inf)
    image = grey(tiff(8, 8, floats.tobytes(), bits=32, sample_format=3))
    assert image[0, :3].tolist() == [0, 0, 0]
    assert image[7, 7] == 255
    assert image[4, 0] == round((32 - 3) / (63 - 3) * 255)
    nothing = np.full((8, 8), np.nan, "<f4").tobytes()
    assert (grey(tiff(8, 8, nothing, bits=32, sample_format=3)) == 0).all()


@pytest.mark.parametrize(("value", "wanted"), [(-5.0, 0), (0.0, 0), (7.0, 7), (9999.0, 255)])
def test_one_flat_tone_stays_what_it_is(value: float, wanted: int) -> None:
    flat = np.full((8, 8), value, "<f4").tobytes()
    assert (grey(tiff(8, 8, flat, bits=32, sample_format=3)) == wanted).all()


def test_one_bit() -> None:
    checks = np.indices((16, 16)).sum(0) % 2
    image = grey(png(16, 16, 1, 0, np.packbits(checks.astype(np.uint8), axis=1).tobytes()))
    assert np.array_equal(image, checks * 255)


def test_grey_with_alpha_over_white() -> None:
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (16, 16, 2), np.uint8)
    picture = decode(png(16, 16, 8, 4, pixels.tobytes()))
    wanted = over_white(np.repeat(pixels[:, :, :1], 3, axis=2), pixels[:, :, 1])
    assert np.abs(picture.image - wanted).max() <= 1
    assert picture.mode == "LA"
    assert [note.code for note in picture.notes] == ["mode_converted"]


def test_colour_with_alpha_over_white() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (16, 16, 4), np.uint8)
    pixels[0, 0] = (0, 0, 0, 0)
    pixels[0, 1, 3] = 255
    image = decode(png(16, 16, 8, 6, pixels.tobytes())).image
    assert np.abs(image - over_white(pixels[:, :, :3], pixels[:, :, 3])).max() <= 1
    assert image[0, 0].tolist() == [255, 255, 255]
    assert image[0, 1].tolist() == pixels[0, 1, :3].tolist()


def test_palette_with_transparency() -> None:
    colours = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30])
    extra = chunk(b"PLTE", colours) + chunk(b"tRNS", bytes([255, 128, 0]))
    indices = (np.arange(64) % 4).astype(np.uint8)
    picture = decode(png(8, 8, 8, 3, indices.tobytes(), extra=extra))
    wanted = [[255, 0, 0], [127, 255, 127], [255, 255, 255], [10, 20, 30]]
    assert np.abs(picture.image[0, :4].astype(int) - wanted).max() <= 1
    assert picture.mode == "P"
    opaque = decode(png(8, 8, 8, 3, indices.tobytes(), extra=chunk(b"PLTE", colours)))
    assert opaque.image[0, 1].tolist() == [0, 255, 0]
    assert opaque.notes == ()


@pytest.mark.parametrize("bits", [8, 16])
def test_one_grey_value_declared_transparent(bits: int) -> None:
    step = 1 if bits == 8 else 1000
    values = (np.arange(64) * step).astype(f">u{bits // 8}").reshape(8, 8)
    clear = int(values[3, 3])
    extra = chunk(b"tRNS", struct.pack(">H", clear))
    image = grey(png(8, 8, bits, 0, values.tobytes(), extra=extra))
    wanted = values.astype(int) // (1 if bits == 8 else 256)
    wanted[3, 3] = 255
    assert np.array_equal(image, wanted)


def test_cmyk_by_the_plain_formula(encode: Encode) -> None:
    inks = np.random.default_rng(3).integers(0, 256, (16, 16, 4), np.uint8)
    picture = decode(encode("TIFF", Image.frombytes("CMYK", (16, 16), inks.tobytes())))
    c, k = inks[:, :, :3].astype(float), inks[:, :, 3:].astype(float)
    assert np.abs(picture.image - (255 - c) * (255 - k) / 255).max() <= 1.01
    assert picture.mode == "CMYK"
    assert [str(note) for note in picture.notes] == ["mode_converted: CMYK to 8-bit RGB"]


def test_cmyk_jpeg_is_not_inverted(encode: Encode) -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    image = decode(encode("JPEG", red, quality=100)).image
    assert np.abs(image.astype(int) - (255, 0, 0)).max() < 6


def test_lab_of_neutral_grey(encode: Encode) -> None:
    # L* = 53.585 is sRGB (128, 128, 128): CIE 1976 and IEC 61966-2-1
    lab = Image.new("LAB", (16, 16), (round(53.585 / 100 * 255), 128, 128))
    image = decode(encode("TIFF", lab)).image
    assert np.abs(image.astype(int) - 128).max() <= 3


def test_icc_profiles_change_nothing(encode: Encode, photo: NDArray[np.uint8]) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    data = encode("PNG", icc_profile=profile)
    assert Image.open(io.BytesIO(data)).info["icc_profile"] == profile
    assert np.array_equal(decode(data).image, photo)
