"""Does the exported graph say what the torch model says?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from opsin.bundle.predictor import Predictor, as_chw
from opsin.core.errors import NumbersWrong
from opsin.core.preprocess import PreprocessSpec
from opsin.data.transform import Normalise
from opsin.tasks.task import Task

LIMIT = 1e-3
PARITY_PICTURES = 64
"""How many real validation pictures an export compares, beside the golden ones."""


def check_parity(
    predictor: Predictor,
    model: nn.Module,
    task: Task,
    pictures: Sequence[tuple[str, NDArray[np.uint8]]],
    *,
    limit: float = LIMIT,
) -> dict[str, Any]:
    """Ask both about the same prepared pictures (name, uint8 H W 3 of `prepared_px`).

    The largest difference of a probability must be at most `limit` and no label may differ,
    except where the two best are closer than that. Raises `NumbersWrong` (code
    `parity`) naming the worst picture; returns what was measured.
    """
    spec = predictor.bundle.spec
    largest, worst, differing = 0.0, "", 0
    for at in range(0, len(pictures), 32):
        part = pictures[at : at + 32]
        pixels = as_chw([picture for _, picture in part])
        ours = predictor.probabilities(pixels)
        theirs = torch_answers(model, task, spec, pixels)
        difference = np.abs(ours - theirs).max(axis=1)
        top = np.sort(theirs, axis=1)
        close = top[:, -1] - top[:, -2] <= 2 * limit
        differing += int(((ours.argmax(1) != theirs.argmax(1)) & ~close).sum())
        row = int(difference.argmax())
        if difference[row] > largest:
            largest, worst = float(difference[row]), part[row][0]
    if largest > limit or differing:
        raise NumbersWrong(
            f"the exported graph disagrees with the model: max difference {largest:.2g} "
            f"(limit {limit:g}) on {worst}; {differing} of {len(pictures)} labels differ",
            code="parity",
            fix="nothing was published; report the model's name with this message",
        )
    return {
        "pictures": len(pictures),
        "max_difference": largest,
        "limit": limit,
        "labels_differing": differing,
    }


def torch_answers(
    model: nn.Module, task: Task, spec: PreprocessSpec, pixels: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """The torch model's answers for prepared pictures, uint8 B 3 H W."""
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    with torch.inference_mode():
        inputs = Normalise(spec)(torch.from_numpy(pixels)).to(device)
        answers: NDArray[np.float32] = task.answer(model(inputs)).float().cpu().numpy()
    model.train(training)
    return answers
