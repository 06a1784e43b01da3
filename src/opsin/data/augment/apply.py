"""A plan carried out: pictures that need the same operations go through them together."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from opsin.data.augment import levels
from opsin.data.augment.plan import NEUTRAL, Floats, Plan
from opsin.data.augment.resample import Resampling
from opsin.data.augment.tables import has_table, look_up
from opsin.data.augment.workspace import WORKSPACE

CHUNK_BYTES = 1 << 20
"""Float pixels that go through all operations together: they stay in the processor's cache."""

HOLE_LEVEL = 115
"""What is erased becomes a grey that normalising by ImageNet's mean turns into almost nothing."""

LINEAR = ("brightness", "contrast", "saturation")

RESAMPLED = 4

Pixels = NDArray[np.uint8]


def apply(plan: Plan, images: torch.Tensor) -> torch.Tensor:
    """uint8 B C H W to a new uint8 B C H W. Levels are rounded once, at the end (to even)."""
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    given, out = images.numpy(), result.numpy()
    per_chunk = max(1, CHUNK_BYTES // (4 * given[0].size)) if len(given) else 1
    resampling: Resampling | None = None
    for need, rows in _groups(plan).items():
        rounds = _asked(plan, need)
        if need[0] < RESAMPLED and all(map(has_table, map(set, rounds))) and len(rounds) < 2:
            for row in rows:
                _move(given[row], out[row], plan, row, need[0])
                if rounds:
                    look_up(out[row], {name: float(of[row]) for name, of in rounds[0].items()})
            continue
        if need[0] == RESAMPLED and resampling is None:
            resampling = Resampling(plan.matrix, plan.height, plan.width)
        for start in range(0, len(rows), per_chunk):
            some = rows[start : start + per_chunk]
            images = WORKSPACE.floats("pixels", (len(some), *given.shape[1:]))
            for picture, row in zip(images.numpy(), some, strict=True):
                if need[0] == RESAMPLED:
                    picture[:] = given[row]
                else:
                    _move(given[row], picture, plan, row, need[0])
            if need[0] == RESAMPLED and resampling is not None:
                images = resampling(images, some)
            for asked in rounds:
                images = _round(images, some, asked, plan)
            for row, picture in zip(some, images.round_().numpy(), strict=True):
                np.copyto(out[row], picture, casting="unsafe")
    for row in np.flatnonzero(plan.holes[:, 2]).tolist():
        top, left, bottom, right = plan.holes[row].tolist()
        out[row, :, top:bottom, left:right] = HOLE_LEVEL
    return result


def _groups(plan: Plan) -> dict[bytes, list[int]]:
    """Rows by what they need. First byte: 0 moved by whole pixels or not at all, 1 with left and
    right changed, 2 with top and bottom, 3 with both, `RESAMPLED`; then one for each operation of
    each round.
    """
    matrix = plan.matrix[:, :2]
    diagonal = matrix[:, [0, 1], [0, 1]]
    whole = (
        (np.abs(diagonal) == 1).all(axis=1)
        & (matrix[:, [0, 1], [1, 0]] == 0).all(axis=1)
        & (matrix[:, :, 2] == np.floor(matrix[:, :, 2])).all(axis=1)
    )
    kinds = (diagonal[:, 0] < 0) + 2 * (diagonal[:, 1] < 0)
    needs = [np.where(whole, kinds, RESAMPLED).astype(np.uint8)]
    for changes in plan.rounds:
        needs += [
            (changes[name] != neutral).astype(np.uint8)
            for name, neutral in NEUTRAL.items()
            if name in changes
        ]
    groups: dict[bytes, list[int]] = {}
    for row, need in enumerate(np.stack(needs, axis=1)):
        groups.setdefault(need.tobytes(), []).append(row)
    return groups


def _asked(plan: Plan, need: bytes) -> list[dict[str, Floats]]:
    """The rounds in which pictures with this `need` change, and what changes them."""
    place, rounds = 1, []
    for changes in plan.rounds:
        names = [name for name in NEUTRAL if name in changes]
        wanted = need[place : place + len(names)]
        rounds.append({n: changes[n] for n, yes in zip(names, wanted, strict=True) if yes})
        place += len(names)
    return [asked for asked in rounds if asked]


def _round(
    images: torch.Tensor, rows: list[int], asked: dict[str, Floats], plan: Plan
) -> torch.Tensor:
    """All operations on levels of one round, float32 B C H W in [0, 255] to the same."""
    values = {
        name: torch.from_numpy(of[rows].astype(np.float32)).view(-1, 1, 1, 1)
        for name, of in asked.items()
    }
    if any(name in values for name in LINEAR):
        images = levels.light_and_colour(images, values)
    for name, kernel in levels.KERNELS.items():
        if name in values:
            images = kernel(images, values[name])
    if "noise" in values:
        images = levels.noise(images, values["noise"], plan.noise_seeds[rows].tolist())
    return images


def _move(
    given: Pixels, out: NDArray[np.uint8] | NDArray[np.float32], plan: Plan, row: int, kind: int
) -> None:
    """Mirror one picture and shift it by whole pixels, C H W to C H W; black where nothing was."""
    given = given[:, :: -1 if kind & 2 else 1, :: -1 if kind & 1 else 1]
    x = int(plan.matrix[row, 0, 2]) - plan.width * (kind & 1)
    y = int(plan.matrix[row, 1, 2]) - plan.height * (kind >> 1)
    if not x and not y:
        out[:] = given
        return
    out[:] = 0
    wide, tall = plan.width - abs(x), plan.height - abs(y)
    if wide > 0 and tall > 0:
        there = out[:, max(y, 0) : max(y, 0) + tall, max(x, 0) : max(x, 0) + wide]
        there[:] = given[:, max(-y, 0) : max(-y, 0) + tall, max(-x, 0) : max(-x, 0) + wide]
