"""Boxes and points go through the matrix as pixels do; draws stay in their ranges."""

from __future__ import annotations

import numpy as np
import torch

from opsin.data.augment.apply import apply
from opsin.data.augment.augmenter import Augmenter
from opsin.data.augment.plan import Plan

COUNT = 500
EPOCHS, IDS = [2] * COUNT, [str(number) for number in range(COUNT)]


def test_a_point_moves_with_the_pixels() -> None:
    """A white block's middle, told by the matrix, is where the block's middle is found."""
    images = torch.zeros(COUNT, 1, 60, 80, dtype=torch.uint8)
    images[:, :, 20:26, 50:56] = 255
    augmenter = Augmenter("hflip,vflip,rotate=30,translate=0.1,zoom=0.2,shear=10", seed=0)
    moved = augmenter(images, EPOCHS, IDS)[:, 0].double()
    plan = augmenter.plan(EPOCHS, IDS, (60, 80))
    points = plan.matrix @ np.array([53.0, 23.0, 1.0])
    inside = (points[:, 0] > 8) & (points[:, 0] < 72) & (points[:, 1] > 8) & (points[:, 1] < 52)
    assert inside.sum() > 100
    weight = moved.sum((1, 2))[inside]
    x = (moved[inside] * (torch.arange(80) + 0.5)).sum((1, 2)) / weight
    y = (moved[inside] * (torch.arange(60)[:, None] + 0.5)).sum((1, 2)) / weight
    gap = np.hypot(x.numpy() - points[inside, 0], y.numpy() - points[inside, 1])
    assert gap.max() < 0.1


def test_draws_stay_in_their_ranges() -> None:
    recipe = "rotate=20,brightness=0.3,hue=40,gamma=0.5,blur=2,noise=6,erasing=0.4"
    plan = Augmenter(recipe, seed=1).plan(EPOCHS, IDS, (50, 70))
    angles = np.degrees(np.arctan2(plan.matrix[:, 1, 0], plan.matrix[:, 0, 0]))
    bounds = {
        "brightness": (0.7, 1.3), "hue": (-40, 40), "gamma": (1 / 1.5, 1.5), "blur": (0.1, 2),
        "noise": (0, 6),
    }  # fmt: skip
    for values, (low, high) in [
        (angles, (-20, 20)),
        *((plan.rounds[0][name], bound) for name, bound in bounds.items()),
    ]:
        assert low <= values.min() < low + 0.05 * (high - low)
        assert high >= values.max() > high - 0.05 * (high - low)
    top, left, bottom, right = plan.holes.T
    area = (bottom - top) * (right - left) / (50 * 70)
    assert 0.3 < (area > 0).mean() < 0.5
    assert area[area > 0].min() > 0.015
    assert area.max() < 0.34
    assert (top >= 0).all()
    assert (bottom <= 50).all()
    assert (right <= 70).all()


def test_crops_show_a_part_of_the_picture() -> None:
    """No black comes in, and the area is that of the recipe."""
    images = torch.full((COUNT, 3, 40, 64), 200, dtype=torch.uint8)
    augmenter = Augmenter("resized_crop=0.3", seed=0)
    assert torch.equal(augmenter(images, EPOCHS, IDS), images)
    matrix = augmenter.plan(EPOCHS, IDS, (40, 64)).matrix
    share = 1 / (matrix[:, 0, 0] * matrix[:, 1, 1])
    assert 0.27 < share.min() < 0.4
    assert share.max() > 0.6
    thin = Augmenter("resized_crop=0.9", seed=0).plan(EPOCHS, IDS, (10, 400)).matrix
    assert np.allclose(400 / thin[:, 0, 0], 13), "no try fits: the middle, 4:3"


def test_noise_has_the_deviation_that_was_drawn() -> None:
    plan = Plan(2, 100, 100)
    plan.set_levels("noise", np.array([5.0, 20.0]))
    plan.noise_seeds = np.array([1, 2])
    result = apply(plan, torch.full((2, 3, 100, 100), 128, dtype=torch.uint8)).double()
    assert torch.allclose(result.std((1, 2, 3)), torch.tensor([5.0, 20.0]).double(), rtol=0.03)
    assert (result.mean((1, 2, 3)) - 128).abs().max() < 0.3
