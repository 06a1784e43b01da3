"""What the model says of the same few validation pictures after each epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from opsin.core.files import no_room
from opsin.core.preprocess import PreprocessSpec
from opsin.training.callback import Callback
from opsin.training.callbacks.contact_sheet import Tile, write_sheet
from opsin.training.callbacks.patient import Patient, Say, silent, sweep
from opsin.training.events import TrainStart, ValidationStart

Pictures = tuple[torch.Tensor, Sequence[int], NDArray[np.uint8]]
"""Inputs float32 B C H W, their class numbers, and the pictures that people see, uint8 B H W 3."""

TOGETHER = 16


class PictureSamples(Callback):
    """Writes `epoch-0003.png` into `folder`: the first `count` pictures of `source` with the
    predicted class, its probability and, where that is wrong, the true one.

    `source` is asked once, when the first sheet is due. `answer` makes probabilities B K of the
    outputs (`Task.answer`). Drawn with the weights that are judged, so it must come after
    `Averaging` among the callbacks. The whole model is asked, also in a stage whose head learns
    alone. Training never stops for a sheet that cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        source: Callable[[], Pictures],
        classes: Sequence[str],
        *,
        count: int,
        answer: Callable[[torch.Tensor], torch.Tensor],
        say: Say = silent,
        wait_s: float = 5.0,
    ) -> None:
        self.folder = folder
        self.classes = tuple(classes)
        self.count = count
        self._source = source
        self._answer = answer
        self._pictures: Pictures | None = None
        self._model: nn.Module | None = None
        self._patient = Patient(folder, say, wait_s=wait_s)

    def on_train_start(self, start: TrainStart) -> None:
        """Remember the whole model."""
        sweep(self.folder, "epoch-*.png")
        self._model = start.model

    def on_validation_start(self, start: ValidationStart) -> None:
        """Draw the sheet."""
        if self._model is None:
            return
        if self._pictures is None:
            inputs, targets, shown = self._source()
            self._pictures = inputs[: self.count], targets[: self.count], shown[: self.count]
        inputs, targets, shown = self._pictures
        tiles = [
            Tile(picture, self.classes[int(row.argmax())], float(row.max()), self.classes[target])
            for picture, row, target in zip(
                shown, _ask(self._model, inputs, self._answer), map(int, targets), strict=True
            )
        ]
        path = self.folder / f"epoch-{start.epoch:04d}.png"
        self._patient.write(lambda: self._write(path, tiles, f"epoch {start.epoch}"))

    def _write(self, path: Path, tiles: Sequence[Tile], title: str) -> None:
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise no_room(self.folder, error) from error
        write_sheet(path, tiles, title)


def unnormalised(inputs: torch.Tensor, spec: PreprocessSpec) -> NDArray[np.uint8]:
    """Float32 B 3 H W, as `opsin.data.transform.Normalise` makes them, as uint8 B H W 3."""
    mean = torch.tensor(spec.mean).view(1, 3, 1, 1)
    std = torch.tensor(spec.std).view(1, 3, 1, 1)
    levels = ((inputs.cpu() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().numpy()


@torch.no_grad()
def _ask(
    model: nn.Module, inputs: torch.Tensor, answer: Callable[[torch.Tensor], torch.Tensor]
) -> list[torch.Tensor]:
    """Probabilities K of each picture; every part of `model` is left in the mode it was in."""
    modes = [(part, part.training) for part in model.modules()]
    device = next((each.device for each in model.parameters()), torch.device("cpu"))
    model.eval()
    try:
        parts = torch.split(inputs, TOGETHER)
        return [row for part in parts for row in answer(model(part.to(device)).float()).cpu()]
    finally:
        for part, training in modes:
            part.training = training
