"""The same parameters give torchvision's pictures, within one level away from the border."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as theirs

from opsin.data.augment import matrices
from opsin.data.augment.apply import apply
from opsin.data.augment.plan import NEUTRAL, Floats, Plan
from opsin.data.augment.policies import OPERATIONS, USUAL, WIDE, Space, operate

LINEAR = InterpolationMode.BILINEAR
SIZES = [(48, 48), (33, 47)]


@pytest.fixture(scope="module", params=SIZES, ids=str)
def image(request: pytest.FixtureRequest, shared_data: Path) -> torch.Tensor:
    """uint8 3 H W of a photo."""
    file = sorted((shared_data / "pizza_steak_sushi" / "train").glob("*/*.jpg"))[3]
    height, width = request.param
    pixels = np.asarray(Image.open(file).convert("RGB").resize((width, height)))
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def done(image: torch.Tensor, change: Callable[[Plan], object], count: int = 3) -> torch.Tensor:
    """uint8 C H W: what a plan makes of the picture, the same in each row."""
    height, width = image.shape[-2:]
    plan = Plan(count, height, width)
    change(plan)
    result = apply(plan, image.expand(count, *image.shape).contiguous())
    assert all(torch.equal(result[0], other) for other in result)
    return result[0]


def same(ours: torch.Tensor, other: torch.Tensor, rim: int = 0) -> None:
    height, width = ours.shape[-2:]
    inner = (slice(None), slice(rim, height - rim), slice(rim, width - rim))
    gap = (ours.int() - other.int()).abs()[inner]
    assert gap.max() <= 1


def all_of(value: float, count: int = 3) -> Floats:
    return np.full(count, value)


def middle(image: torch.Tensor, part: Floats) -> Floats:
    return matrices.about(image.shape[-1] / 2, image.shape[-2] / 2, part)


@pytest.mark.parametrize("degrees", [-140.0, -15.0, 3.0, 45.0, 90.0])
def test_rotation(image: torch.Tensor, degrees: float) -> None:
    ours = done(image, lambda plan: plan.move(middle(image, matrices.turns(all_of(degrees)))))
    same(ours, theirs.rotate(image, -degrees, interpolation=LINEAR))


@pytest.mark.parametrize(
    ("degrees", "shift", "scale", "shear"),
    [
        (0.0, (3.25, -5.5), 1.0, (0.0, 0.0)),
        (0.0, (0.0, 0.0), 1.3, (0.0, 0.0)),
        (0.0, (0.0, 0.0), 0.7, (0.0, 0.0)),
        (0.0, (0.0, 0.0), 1.0, (12.0, 0.0)),
        (0.0, (0.0, 0.0), 1.0, (0.0, -20.0)),
        (25.0, (2.5, 1.0), 1.2, (10.0, 5.0)),
    ],
)
def test_affine(
    image: torch.Tensor,
    degrees: float,
    shift: tuple[float, float],
    scale: float,
    shear: tuple[float, float],
) -> None:
    def change(plan: Plan) -> None:
        slopes = [all_of(math.tan(math.radians(angle))) for angle in shear]
        parts = [
            matrices.slants(slopes[0], slopes[1]),
            matrices.turns(all_of(degrees)),
            matrices.scales(all_of(scale), all_of(scale)),
        ]
        for part in parts:
            plan.move(middle(image, part))
        plan.move(matrices.shifts(all_of(shift[0]), all_of(shift[1])))

    other = theirs.affine(image, degrees, list(shift), scale, list(shear), interpolation=LINEAR)
    ours = done(image, change)
    if degrees or any(shear):
        same(ours, other)
        return
    # Straight pictures have no dark rim with us.
    covered = theirs.affine(
        torch.full_like(image, 255), degrees, list(shift), scale, list(shear), interpolation=LINEAR
    )
    gap = (ours.int() - other.int()).abs()
    assert gap[covered == 255].max() <= 1
    assert (gap[covered == 0] <= 1).all()
    assert (covered == 255).float().mean() > 0.4, "most of it was compared"


def test_flips_are_exact(image: torch.Tensor) -> None:
    width, height = image.shape[-1], image.shape[-2]
    mirror = np.array([[[-1.0, 0, width], [0, 1, 0], [0, 0, 1]]] * 3)
    assert torch.equal(done(image, lambda plan: plan.move(mirror)), theirs.horizontal_flip(image))
    turn = np.array([[[1.0, 0, 0], [0, -1, height], [0, 0, 1]]] * 3)
    assert torch.equal(done(image, lambda plan: plan.move(turn)), theirs.vertical_flip(image))


def test_whole_pixels_are_exact(image: torch.Tensor) -> None:
    for x, y in [(5, 0), (-7, 3), (0, -11), (100, 2)]:
        ours = done(image, lambda p, x=x, y=y: p.move(matrices.shifts(all_of(x), all_of(y))))
        padded = theirs.pad(image, [100, 100])
        other = theirs.crop(padded, 100 - y, 100 - x, *image.shape[-2:])
        assert torch.equal(ours, other)


def test_one_resampling_is_closer_than_two(image: torch.Tensor) -> None:
    """Turned one way and back in one matrix: the picture as it was."""

    def there_and_back(plan: Plan) -> None:
        plan.move(middle(image, matrices.turns(all_of(30.0))))
        plan.move(middle(image, matrices.turns(all_of(-30.0))))

    assert torch.equal(done(image, there_and_back), image)


LEVELS: list[tuple[str, float, Callable[[torch.Tensor], Any]]] = [
    ("brightness", 1.4, lambda i: theirs.adjust_brightness(i, 1.4)),
    ("brightness", 0.3, lambda i: theirs.adjust_brightness(i, 0.3)),
    ("contrast", 1.6, lambda i: theirs.adjust_contrast(i, 1.6)),
    ("contrast", 0.4, lambda i: theirs.adjust_contrast(i, 0.4)),
    ("saturation", 1.7, lambda i: theirs.adjust_saturation(i, 1.7)),
    ("saturation", 0.0, lambda i: theirs.adjust_saturation(i, 0.0)),
    ("hue", 30.0, lambda i: theirs.adjust_hue(i, 30 / 360)),
    ("hue", -100.0, lambda i: theirs.adjust_hue(i, -100 / 360)),
    ("gamma", 1.8, lambda i: theirs.adjust_gamma(i, 1.8)),
    ("gamma", 0.5, lambda i: theirs.adjust_gamma(i, 0.5)),
    ("sharpness", 1.9, lambda i: theirs.adjust_sharpness(i, 1.9)),
    ("sharpness", 0.2, lambda i: theirs.adjust_sharpness(i, 0.2)),
    ("blur", 1.5, lambda i: theirs.gaussian_blur(i, [11, 11], [1.5, 1.5])),
    ("posterize", 3.0, lambda i: theirs.posterize(i, 3)),
    ("solarize", 100.0, lambda i: theirs.solarize(i, 100.0)),
    ("autocontrast", 1.0, theirs.autocontrast),
    ("equalize", 1.0, theirs.equalize),
]


@pytest.mark.parametrize("by_float", [False, True], ids=["alone", "in floats"])
@pytest.mark.parametrize(("name", "value", "other"), LEVELS)
def test_levels(
    image: torch.Tensor, name: str, value: float, other: Callable[[Any], Any], by_float: bool
) -> None:
    """Alone, and in float arithmetic: with a hue that changes nothing but takes the table away."""

    def change(plan: Plan) -> None:
        plan.set_levels(name, all_of(value))
        if by_float and name != "hue":
            plan.set_levels("hue", all_of(360.0))

    dim = (image * 0.6 + 20).to(torch.uint8)
    same(done(dim, change), other(dim))


def test_every_level_is_tried() -> None:
    assert {name for name, _, _ in LEVELS} == set(NEUTRAL) - {"noise"}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize(
    ("space", "policy"), [(WIDE, v2.TrivialAugmentWide), (USUAL, v2.RandAugment)]
)
def test_policies(
    image: torch.Tensor, name: str, side: float, space: Space, policy: type[Any]
) -> None:
    """Each operation, at each tenth strength, is torchvision's own of that name."""
    made = policy(interpolation=LINEAR)
    called = {"saturation": "Color", "autocontrast": "AutoContrast"}
    their_name = called.get(name, "".join(word.capitalize() for word in name.split("_")))
    magnitudes, signed = made._AUGMENTATION_SPACE[their_name]
    # Where the limit of solarize is no level, so that its last bit does not matter.
    for bin_ in (0, 11, 21, 30):
        values = magnitudes(31, *image.shape[-2:])
        magnitude = 0.0 if values is None else float(values[bin_]) * (side if signed else 1)
        # They cut off twice on the way to less colour in integers, not in floats.
        given = image / 255 if name == "saturation" else image
        other = made._apply_image_or_video_transform(
            given, their_name, magnitude, interpolation=LINEAR, fill={}
        )
        other = (other * 255).round() if name == "saturation" else other
        chosen = np.full(3, OPERATIONS.index(name))

        def change(plan: Plan, bin_: int = bin_, chosen: Any = chosen) -> None:
            operate(plan, 1, chosen, all_of(bin_ / 30), all_of(side), space)

        same(done(image, change), other)


def test_less_colour_twice(image: torch.Tensor) -> None:
    """Two rounds one after the other, as RandAugment draws them."""

    def change(plan: Plan) -> None:
        for number, value in enumerate((0.5, 1.8, 0.7)):
            plan.set_levels("saturation", all_of(value), number)

    expected = image / 255
    for value in (0.5, 1.8, 0.7):
        expected = theirs.adjust_saturation(expected, value)
    same(done(image, change), (expected * 255).round())
