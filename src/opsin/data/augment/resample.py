"""One resampling for all geometry of a picture."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from opsin.data.augment.matrices import inverses
from opsin.data.augment.plan import Floats
from opsin.data.augment.workspace import WORKSPACE


class Resampling:
    """For each picture the places in the source that its pixels come from, by its `matrix` (see
    `Plan.matrix`), float64 B 3 3.

    A pixel whose place is within half a pixel of the border of a picture that is neither turned
    nor slanted is taken from the border itself: an enlarged picture has no dark rim.

    >>> quarter = np.array([[[0.0, -1, 2], [1, 0, 0], [0, 0, 1]]])
    >>> given = torch.tensor([[[[1.0, 2], [3, 4]]]])
    >>> Resampling(quarter, 2, 2)(given, [0]).tolist()
    [[[[3.0, 1.0], [4.0, 2.0]]]]
    """

    def __init__(self, matrix: Floats, height: int, width: int) -> None:
        inverse = inverses(matrix)
        self._size = height, width
        x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
        straight = (inverse[:, 0, 1] == 0) & (inverse[:, 1, 0] == 0)
        self._parts = []
        for axis, side in enumerate((width, height)):
            along_x = inverse[:, axis, 0:1] * x
            along_y = inverse[:, axis, 1:2] * y
            own = along_y if axis else along_x
            own += inverse[:, axis, 2:3]
            own[straight] = _off_the_rim(own[straight], side)
            own -= side / 2
            across, down = (
                torch.from_numpy((part * (2 / side)).astype(np.float32))
                for part in (along_x, along_y)
            )
            self._parts.append((across[:, None, :], down[:, :, None]))

    def __call__(
        self, images: torch.Tensor, rows: list[int], mode: str = "bilinear"
    ) -> torch.Tensor:
        """The pictures `rows`, float32 B C H W, moved: a new float32 B C H W.

        Black where nothing was, as in torchvision. A mask goes through it with `mode="nearest"`.
        """
        # The two coordinates lie in planes of their own, which is quicker to make.
        places = WORKSPACE.floats("places", (len(rows), 2, *self._size))
        for axis, (across, down) in enumerate(self._parts):
            torch.add(across[rows], down[rows], out=places[:, axis])
        grid = places.permute(0, 2, 3, 1)
        return F.grid_sample(images, grid, mode=mode, align_corners=False)


def _off_the_rim(places: Floats, side: int) -> Floats:
    inside = (places >= 0) & (places <= side)
    return np.where(inside, np.clip(places, 0.5, side - 0.5), places)
