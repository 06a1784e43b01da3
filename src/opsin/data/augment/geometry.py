"""Augmentations that move pixels: each adds a matrix, nothing is resampled here."""

from __future__ import annotations

import math

import numpy as np

from opsin.data.augment import matrices
from opsin.data.augment.augmentation import Augmentation, around, between
from opsin.data.augment.plan import Floats, Plan, each, tangent_degrees

ASPECT = (3 / 4, 4 / 3)
TRIES = 10


class HFlip(Augmentation):
    """Left and right changed with probability `strength`."""

    draws = 1

    def add_to(self, plan: Plan, drawn: Floats) -> None:
        """See `Augmentation`."""
        chosen = drawn[:, 0] < self.strength
        side = np.where(chosen, -1.0, 1.0)
        plan.move(_mirrors(side, np.ones_like(side), plan))
        plan.tell(chosen, lambda b: "hflip")


class VFlip(Augmentation):
    """Top and bottom changed with probability `strength`."""

    draws = 1

    def add_to(self, plan: Plan, drawn: Floats) -> None:
        """See `Augmentation`."""
        chosen = drawn[:, 0] < self.strength
        side = np.where(chosen, -1.0, 1.0)
        plan.move(_mirrors(np.ones_like(side), side, plan))
        plan.tell(chosen, lambda b: "vflip")


class Rotate(Augmentation):
    """Turned about the middle by up to `strength` degrees, either way; black where nothing was."""

    draws = 1

    def add_to(self, plan: Plan, drawn: Floats) -> None:
        """See `Augmentation`."""
        degrees = between(-self.strength, self.strength, drawn[:, 0])
        rotate(plan, degrees)
        plan.tell(degrees != 0, lambda b: f"rotate {degrees[b]:+.0f}°")


class Crop(Augmentation):
    """Padded with black by `strength` of each side, then cut to size at random, in whole pixels."""

    draws = 2

    def add_to(self, plan: Plan, drawn: Floats) -> None:
        """See `Augmentation`."""
        x, y = (
            np.floor(between(0, 2 * pad + 1, drawn[:, column])) - pad
            for column, pad in enumerate(
                (round(self.strength * plan.width), round(self.strength * plan.height))
            )
        )
        plan.move(matrices.shifts(x, y))
        plan.tell((x != 0) | (y != 0), lambda b: f"crop {x[b]:+.0f} {y[b]:+.0f} px")


class ResizedCrop(Augmentation):
    """A part of at least `strength` of the area, sides 3:4 to 4:3 of each other, enlarged to the
    whole. Source: Szegedy et al. (2015), as torchvision's `RandomResizedCrop`.
    """

    draws = 2 * TRIES + 2

    def add_to(self, plan: Plan, drawn: Floats) -> None:
        """See `Augmentation`."""
        height, width = plan.height, plan.width
        area = between(self.strength, 1.0, drawn[:, :TRIES]) * (height * width)
        logs = between(math.log(ASPECT[0]), math.log(ASPECT[1]), drawn[:, TRIES : 2 * TRIES])
        aspect = each(math.exp, logs.ravel()).reshape(logs.shape)
        wide = np.maximum(1.0, np.round(np.sqrt(area * aspect)))
        tall = np.maximum(1.0, np.round(np.sqrt(area / aspect)))
        fits = (wide <= width) & (tall <= height)
        first = fits.argmax(axis=1)[:, None]
        # None of the tries fits a picture that is long and thin: the middle, as far as it goes.
        middle_w = min(width, max(1, round(height * ASPECT[1])))
        middle_h = min(height, max(1, round(width / ASPECT[0])))
        found = fits.any(axis=1)
        wide = np.where(found, np.take_along_axis(wide, first, 1)[:, 0], middle_w)
        tall = np.where(found, np.take_along_axis(tall, first, 1)[:, 0], middle_h)
        left = np.where(found, np.floor(drawn[:, -2] * (width - wide + 1)), (width - wide) // 2)
        top = np.where(found, np.floor(drawn[:, -1] * (height - tall + 1)), (height - tall) // 2)
        plan.move(matrices.shifts(-left, -top))
        plan.move(matrices.scales(width / wide, height / tall))
        share = wide * tall / (height * width)
        plan.tell(share < 1, lambda b: f"crop {share[b]:.0%} of area")


class Translate(Augmentation):
    """Shifted along both sides by up to `strength` of them; black where nothing was."""

    draws = 2

    def add_to(self, plan: Plan, drawn: Floats) -> None:
        """See `Augmentation`."""
        x = between(-self.strength, self.strength, drawn[:, 0]) * plan.width
        y = between(-self.strength, self.strength, drawn[:, 1]) * plan.height
        plan.move(matrices.shifts(x, y))
        plan.tell((x != 0) | (y != 0), lambda b: f"shift {x[b]:+.0f} {y[b]:+.0f} px")


class Zoom(Augmentation):
    """Enlarged or made smaller about the middle, 1 - `strength` to 1 + `strength` times."""

    draws = 1

    def add_to(self, plan: Plan, drawn: Floats) -> None:
        """See `Augmentation`."""
        factors = around(self.strength, drawn[:, 0])
        x, y = plan.width / 2, plan.height / 2
        plan.move(matrices.about(x, y, matrices.scales(factors, factors)))
        plan.tell(factors != 1, lambda b: f"zoom ×{factors[b]:.2f}")


class Shear(Augmentation):
    """Slanted about the middle along the width, then along the height, by up to `strength`
    degrees each.
    """

    draws = 2

    def add_to(self, plan: Plan, drawn: Floats) -> None:
        """See `Augmentation`."""
        slopes = each(math.tan, np.radians(between(-self.strength, self.strength, drawn)).ravel())
        x, y = slopes.reshape(-1, 2).T
        plan.move(matrices.about(plan.width / 2, plan.height / 2, matrices.slants(x, y)))
        plan.tell(
            (x != 0) | (y != 0),
            lambda b: f"shear {tangent_degrees(x[b]):+.0f}° {tangent_degrees(y[b]):+.0f}°",
        )


def rotate(plan: Plan, degrees: Floats) -> None:
    """Clockwise about the middle."""
    plan.move(matrices.about(plan.width / 2, plan.height / 2, matrices.turns(degrees)))


def _mirrors(x: Floats, y: Floats, plan: Plan) -> Floats:
    """-1 turns a side about the middle, 1 leaves it."""
    mirrors = matrices.scales(x, y)
    mirrors[:, 0, 2] = np.where(x < 0, plan.width, 0)
    mirrors[:, 1, 2] = np.where(y < 0, plan.height, 0)
    return mirrors
