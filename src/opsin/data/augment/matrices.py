"""3 x 3 matrices of the plane, one for each picture: float64 B 3 3 for points (x, y, 1) in px."""

from __future__ import annotations

import math

import numpy as np

from opsin.data.augment.plan import Floats, each


def shifts(x: Floats, y: Floats) -> Floats:
    """By (x, y) px, right and down.

    >>> (shifts(np.array([2.0]), np.array([3.0])) @ [1, 1, 1])[0].tolist()
    [3.0, 4.0, 1.0]
    """
    one, zero = np.ones_like(x), np.zeros_like(x)
    return _rows((one, zero, x), (zero, one, y))


def scales(x: Floats, y: Floats) -> Floats:
    """By factors along the sides, about the upper left corner."""
    zero = np.zeros_like(x)
    return _rows((x, zero, zero), (zero, y, zero))


def turns(degrees: Floats) -> Floats:
    """Clockwise as it is seen, about the upper left corner."""
    cos, sin = each(_cos, degrees), each(_sin, degrees)
    zero = np.zeros_like(cos)
    return _rows((cos, -sin, zero), (sin, cos, zero))


def slants(x: Floats, y: Floats) -> Floats:
    """Slopes: along the width by `x` for each px downwards, then along the height by `y` for each
    px to the right, as in torchvision's `affine`, about the upper left corner.
    """
    one, zero = np.ones_like(x), np.zeros_like(x)
    return _rows((one, -x, zero), (-y, one + x * y, zero))


def about(x: float, y: float, matrices: Floats) -> Floats:
    """The same about the point (x, y)."""
    to, back = np.eye(3), np.eye(3)
    to[:2, 2] = -x, -y
    back[:2, 2] = x, y
    moved: Floats = np.einsum("ij,bjk,kl->bil", back, matrices, to)
    return moved


def inverses(matrices: Floats) -> Floats:
    """Of matrices whose last row is (0, 0, 1): written out, so that no row depends on another."""
    a, b, c = matrices[:, 0].T
    d, e, f = matrices[:, 1].T
    area = a * e - b * d
    return _rows(
        (e / area, -b / area, (b * f - c * e) / area),
        (-d / area, a / area, (c * d - a * f) / area),
    )


def _rows(first: tuple[Floats, Floats, Floats], second: tuple[Floats, Floats, Floats]) -> Floats:
    matrices = np.zeros((len(first[0]), 3, 3))
    for column in range(3):
        matrices[:, 0, column] = first[column]
        matrices[:, 1, column] = second[column]
    matrices[:, 2, 2] = 1.0
    return matrices


def _cos(degrees: float) -> float:
    return math.cos(math.radians(degrees))


def _sin(degrees: float) -> float:
    return math.sin(math.radians(degrees))
