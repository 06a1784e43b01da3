"""One `PreprocessSpec`, three compilers, the same bytes."""

from __future__ import annotations

import io

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from opsin.core.preprocess import Interpolation, PreprocessSpec
from opsin.data.decode import decode
from opsin.data.transform import Normalise
from opsin.exporting.preprocess_graph import INPUT, preprocess_model

SPECS = {
    f"{resize}-{interpolation}-{crop}": PreprocessSpec(
        size_px=(64, 48),
        resize=resize,
        interpolation=interpolation,
        crop_frac=crop,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.5),
        pad_rgb=(10, 20, 200),
    )
    for resize in ("stretch", "crop", "pad")
    for interpolation in ("bilinear", "bicubic")
    for crop in (1.0, 0.875)
}
ONE_LEVEL = 1.001


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """A photo-like picture: smooth colours, edges, noise."""
    draw = np.random.default_rng(height * 1000 + width)
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([x * 255 / width, y * 255 / height, (x + y) * 3 % 256], axis=-1)
    base[height // 4 : height // 2, width // 3 : width // 2] = (255, 255, 0)
    return np.clip(base + draw.normal(0, 12, base.shape), 0, 255).astype(np.uint8)


def encoded(kind: str) -> bytes:
    """The same scene as the bytes of one kind of file."""
    rgb = Image.fromarray(picture(150, 211))
    buffer = io.BytesIO()
    if kind == "jpeg":
        rgb.save(buffer, "JPEG", quality=90)
    elif kind == "png-alpha":
        rgba = rgb.convert("RGBA")
        rgba.putalpha(Image.linear_gradient("L").resize(rgb.size))
        rgba.save(buffer, "PNG")
    elif kind == "grey":
        rgb.convert("L").save(buffer, "PNG")
    elif kind == "cmyk":
        rgb.convert("CMYK").save(buffer, "JPEG")
    elif kind == "16-bit":
        values = np.asarray(rgb.convert("L"), np.uint16) * 257
        Image.fromarray(values).save(buffer, "PNG")
    elif kind == "exif-rotated":
        exif = Image.Exif()
        exif[0x0112] = 6
        rgb.save(buffer, "JPEG", quality=90, exif=exif)
    return buffer.getvalue()


KINDS = ("jpeg", "png-alpha", "grey", "cmyk", "16-bit", "exif-rotated")


def chw(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])


def run_graph(spec: PreprocessSpec, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(preprocess_model(spec).SerializeToString())
    result: NDArray[np.float32] = session.run(None, {INPUT: chw(image)})[0]
    return result


def in_levels(difference: NDArray[np.float32], spec: PreprocessSpec) -> float:
    """A difference of normalised values in grey levels of the picture."""
    return float(
        np.abs(difference * np.array(spec.std, np.float32).reshape(1, 3, 1, 1)).max() * 255
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SPECS)
def test_loader_graph_and_server_see_the_same(kind: str, name: str) -> None:
    spec = SPECS[name]
    image = decode(encoded(kind)).image
    prepared = spec.prepare(image)
    loader = Normalise(spec)(torch.from_numpy(chw(prepared))).numpy()
    server = run_graph(spec, prepared)
    graph = run_graph(spec, image)
    assert loader.shape == (1, 3, *spec.size_px)
    assert in_levels(server - loader, spec) < 1e-3, "a prepared picture passes the graph unchanged"
    assert in_levels(graph - loader, spec) < ONE_LEVEL
    np.testing.assert_allclose(loader, spec.normalise(chw(prepared)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("size", [(9, 300), (400, 11), (64, 48), (73, 55), (640, 480)])
def test_every_shape_within_one_level(name: str, size: tuple[int, int]) -> None:
    spec = SPECS[name]
    image = picture(*size)
    reference = spec.normalise(chw(spec.prepare(image)))
    assert in_levels(run_graph(spec, image) - reference, spec) < ONE_LEVEL


@pytest.mark.parametrize("name", SPECS)
def test_prepare_is_idempotent(name: str) -> None:
    spec = SPECS[name]
    once = spec.prepare(picture(123, 77))
    assert once.shape[:2] == spec.prepared_px
    np.testing.assert_array_equal(spec.prepare(once), once)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_reference_resize_is_pillows_along_w_then_h(interpolation: Interpolation) -> None:
    image = picture(300, 200)
    spec = PreprocessSpec(size_px=(96, 64), interpolation=interpolation)
    method = Image.Resampling[interpolation.upper()]
    wanted = Image.fromarray(image).resize((64, 300), method).resize((64, 96), method)
    np.testing.assert_array_equal(spec.prepare(image), np.asarray(wanted))
    at_once = np.asarray(Image.fromarray(image).resize((64, 96), method), np.int16)
    if interpolation == "bilinear":
        assert np.abs(spec.prepare(image) - at_once).max() <= 1


def test_crop_takes_the_centre_and_pad_keeps_everything() -> None:
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 100:200] = 255
    cropped = PreprocessSpec(size_px=(50, 50), resize="crop").prepare(image)
    assert (cropped == 255).all()
    padded = PreprocessSpec(size_px=(60, 60), resize="pad", pad_rgb=(7, 8, 9)).prepare(image)
    assert (padded[0, 0] == (7, 8, 9)).all()
    assert (padded[-1, -1] == (7, 8, 9)).all()
    assert (padded[30, 30] == 255).all()
    assert (padded[30, 2] == 0).all()


def test_crop_agrees_with_timms_own_preparation() -> None:
    """Timm resizes the short side and then crops, we crop first; on a smooth picture, where a
    pixel's rounding at the edge does not show, both are the same within two levels.
    """
    from timm.data.transforms_factory import create_transform

    y, x = np.mgrid[0:300, 0:400]
    image = np.stack([x * 255 / 400, y * 255 / 300, (x + y) * 255 / 700], -1).astype(np.uint8)
    spec = PreprocessSpec(size_px=(224, 224), resize="crop", crop_frac=0.875)
    transform = create_transform(
        input_size=(3, 224, 224),
        crop_pct=0.875,
        interpolation="bilinear",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    theirs = transform(Image.fromarray(image)).numpy()[None]
    ours = spec.normalise(chw(spec.prepare(image)))
    assert np.abs(ours - theirs).max() * 255 < 2.01


# --- how much smaller a JPEG may be decoded ---


@pytest.mark.parametrize("gap", [1.0, 1.5, 2.0, 3.3])
@pytest.mark.parametrize("name", SPECS)
def test_a_jpeg_is_decoded_as_small_as_the_gap_allows_and_no_smaller(name: str, gap: float) -> None:
    spec = SPECS[name].model_copy(update={"jpeg_gap": gap})
    draw = np.random.default_rng(5)
    scales = set()
    for height, width in draw.integers(8, 2500, (300, 2)).tolist():
        scale = spec.jpeg_scale(height, width)
        scales.add(scale)
        used, filled = spec.source_box(height, width)[2:], spec.target_box(height, width)[2:]
        rooms = [side / target for side, target in zip(used, filled, strict=True)]
        if scale > 1:
            assert min(rooms) / scale >= gap - 1e-9, (height, width)
        if scale < 8:
            assert min(rooms) / (2 * scale) < gap, "half as large would do"
    assert len(scales) > 2


def test_without_a_gap_every_picture_is_decoded_in_full() -> None:
    for spec in SPECS.values():
        assert spec.jpeg_scale(5000, 5000) == 1
    with pytest.raises(ValueError, match="jpeg_gap"):
        PreprocessSpec(size_px=(8, 8), jpeg_gap=0.5)


def test_what_was_written_before_there_was_a_gap_still_loads() -> None:
    spec = SPECS["crop-bicubic-0.875"]
    old = spec.model_dump(mode="json")
    del old["jpeg_gap"]
    assert PreprocessSpec.model_validate(old) == spec
    gap = spec.model_copy(update={"jpeg_gap": 2.0})
    assert PreprocessSpec.model_validate_json(gap.model_dump_json()) == gap
