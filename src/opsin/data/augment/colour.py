"""Augmentations that change levels where they are: light, colour, sharpness, noise, a hole."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from opsin.data.augment.augmentation import Augmentation, around, between
from opsin.data.augment.plan import NEUTRAL, Floats, Plan, each

HOLE_AREA = (0.02, 0.33)
HOLE_LOG_ASPECT = (math.log(0.3), math.log(3.3))


class _Factor(Augmentation):
    """A factor from 1 - `strength` to 1 + `strength`."""

    draws = 1
    name: ClassVar[str]

    def add_to(self, plan: Plan, drawn: Floats) -> None:
        """See `Augmentation`."""
        factors = around(self.strength, drawn[:, 0])
        plan.set_levels(self.name, factors)
        plan.tell(factors != NEUTRAL[self.name], lambda b: f"{self.name} ×{factors[b]:.2f}")


class Brightness(_Factor):
    """Levels times 1 - `strength` to 1 + `strength`."""

    name = "brightness"


class Contrast(_Factor):
    """Distance to the picture's mean grey times 1 - `strength` to 1 + `strength`."""

    name = "contrast"


class Saturation(_Factor):
    """Distance to each pixel's grey times 1 - `strength` to 1 + `strength`."""

    name = "saturation"


class Sharpness(_Factor):
    """Distance to a slightly smoothed picture times 1 - `strength` to 1 + `strength`."""

    name = "sharpness"


class Hue(Augmentation):
    """Colours turned by up to `strength` degrees, either way."""

    draws = 1

    def add_to(self, plan: Plan, drawn: Floats) -> None:
        """See `Augmentation`."""
        degrees = between(-self.strength, self.strength, drawn[:, 0])
        plan.set_levels("hue", degrees)
        plan.tell(degrees != 0, lambda b: f"hue {degrees[b]:+.0f}°")


class Gamma(Augmentation):
    """Levels, as shares of the brightest, to the power of 1 / (1 + `strength`) to 1 + `strength`;
    as often below 1 as above.
    """

    draws = 1

    def add_to(self, plan: Plan, drawn: Floats) -> None:
        """See `Augmentation`."""
        most = math.log1p(self.strength)
        powers = each(math.exp, between(-most, most, drawn[:, 0]))
        plan.set_levels("gamma", powers)
        plan.tell(powers != 1, lambda b: f"gamma {powers[b]:.2f}")


class Blur(Augmentation):
    """Gaussian blur whose sigma is 0.1 to `strength` pixels."""

    draws = 1

    def add_to(self, plan: Plan, drawn: Floats) -> None:
        """See `Augmentation`."""
        sigmas = between(min(0.1, self.strength), self.strength, drawn[:, 0])
        plan.set_levels("blur", sigmas)
        plan.tell(sigmas > 0, lambda b: f"blur {sigmas[b]:.1f} px")


class Noise(Augmentation):
    """Gaussian noise for each pixel and channel, of a deviation of 0 to `strength` levels."""

    draws = 2

    def add_to(self, plan: Plan, drawn: Floats) -> None:
        """See `Augmentation`."""
        deviations = drawn[:, 0] * self.strength
        plan.set_levels("noise", deviations)
        plan.noise_seeds = np.floor(drawn[:, 1] * 2.0**53).astype(np.int64)
        plan.tell(deviations > 0, lambda b: f"noise ±{deviations[b]:.1f}")


class Erasing(Augmentation):
    """With probability `strength` a box of 2 to 33 % of the area, sides 0.3 to 3.3 of each other,
    becomes grey. Source: Zhong et al., "Random erasing data augmentation" (2017).
    """

    draws = 5

    def add_to(self, plan: Plan, drawn: Floats) -> None:
        """See `Augmentation`."""
        height, width = plan.height, plan.width
        chosen = drawn[:, 0] < self.strength
        area = between(*HOLE_AREA, drawn[:, 1]) * (height * width)
        aspect = each(math.exp, between(*HOLE_LOG_ASPECT, drawn[:, 2]))
        tall = np.clip(np.round(np.sqrt(area * aspect)), 1, height)
        wide = np.clip(np.round(np.sqrt(area / aspect)), 1, width)
        top = np.floor(drawn[:, 3] * (height - tall + 1))
        left = np.floor(drawn[:, 4] * (width - wide + 1))
        holes = np.stack((top, left, top + tall, left + wide), axis=1)
        plan.erase(np.where(chosen[:, None], holes, 0).astype(np.int64))
        plan.tell(chosen, lambda b: f"erased {wide[b]:.0f}×{tall[b]:.0f} px")
