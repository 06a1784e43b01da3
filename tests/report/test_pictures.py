"""Heat maps come to lie where the model saw what it saw, whatever the preprocessing cut away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from opsin.core.preprocess import PreprocessSpec
from opsin.data.decode import Decoded
from opsin.report.pictures import Album, heat_over, place_heat, shrink

SPECS = [
    PreprocessSpec(size_px=(64, 64)),
    PreprocessSpec(size_px=(64, 64), crop_frac=0.8),
    PreprocessSpec(size_px=(64, 64), resize="crop"),
    PreprocessSpec(size_px=(48, 64), resize="crop", crop_frac=0.875),
    PreprocessSpec(size_px=(64, 64), resize="pad"),
    PreprocessSpec(size_px=(64, 48), resize="pad", crop_frac=0.9),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.resize}-{s.size_px}-{s.crop_frac}")
@pytest.mark.parametrize(("height", "width"), [(200, 300), (310, 180)])
def test_heat_returns_to_where_it_came_from(spec: PreprocessSpec, height: int, width: int) -> None:
    """A bright square is prepared as the loader does it; what the model would see is the heat."""
    image = np.zeros((height, width, 3), np.uint8)
    y, x = height * 45 // 100, width * 58 // 100
    image[y - 12 : y + 12, x - 12 : x + 12] = 255
    top, left = spec.margin_px
    seen = spec.prepare(image)[top : top + spec.size_px[0], left : left + spec.size_px[1], 0]
    shown = (height // 2, width // 2)
    placed = place_heat((seen / 255).astype(np.float32), spec, (height, width), shown)
    assert placed.shape == shown
    weight = placed / placed.sum()
    centre = (weight.sum(1) @ np.arange(shown[0]), weight.sum(0) @ np.arange(shown[1]))
    assert centre[0] == pytest.approx(y / 2, abs=2.5)
    assert centre[1] == pytest.approx(x / 2, abs=2.5)
    assert placed.max() > 0.8


def test_what_the_model_did_not_see_stays_cold() -> None:
    hot = np.ones((8, 8), np.float32)
    placed = place_heat(hot, PreprocessSpec(size_px=(32, 32), resize="crop"), (100, 300), (50, 150))
    assert (placed[:, 52:98] == 1).all()
    assert (placed[:, :48] == 0).all()
    assert (placed[:, 102:] == 0).all()
    assert (place_heat(hot, None, (100, 300), (50, 150)) == 1).all()


def test_broken_heat_does_no_harm() -> None:
    heat = np.array([[np.nan, 7.0], [-3.0, 0.5]], np.float32)
    placed = place_heat(heat, None, (2, 2), (2, 2))
    assert placed.tolist() == [[0, 1], [0, 0.5]]
    assert heat_over(np.zeros((2, 2, 3), np.uint8), placed).dtype == np.uint8

    def decode(_path: Path) -> Decoded:
        return Decoded(np.zeros((9, 9, 3), np.uint8), "PNG", "RGB", (), (9, 9))

    album = Album(Path(__file__).parent, decode, {})
    shown = album.show(Path(__file__).name, side_px=9, heat=np.zeros((3, 3, 3), np.float32))
    assert shown.uri
    assert not shown.heat_uri


def test_shrink_keeps_proportions_and_never_enlarges() -> None:
    assert shrink(np.zeros((100, 400, 3), np.uint8), 200).shape == (50, 200, 3)
    assert shrink(np.zeros((30, 20, 3), np.uint8), 200).shape == (30, 20, 3)
