"""How the pixels and targets of a batch reach the device that learns from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from opsin.core.batch import Batch
from opsin.core.preprocess import PreprocessSpec
from opsin.data.transform import Normalise

CPU = torch.device("cpu")

Pin = Callable[[torch.Tensor], torch.Tensor]


class Landing:
    """Takes a batch of prepared pixels, uint8 B C H W, to normalised float32 B C H W on `device`.

    Without `pin` (`device` is the processor, or MPS) `ready` makes the floats, and whoever wants
    the batch elsewhere moves it. With `pin` pixels travel as uint8, a quarter of their floats:
    `ready`, in whichever thread made the batch, puts it into memory that the card fetches from by
    itself (torch keeps such memory until the copy is done), and `land` starts the copy on the
    current stream of the thread that wants the batch, and normalises there. A card divides by 255
    as it multiplies by 1/255, so the last bit of a float may differ from the processor's.

    >>> spec = PreprocessSpec(size_px=(2, 2))
    >>> batch = Batch(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.zeros(1), ("a",))
    >>> landing = Landing(spec)
    >>> landing.land(landing.ready(batch)).inputs.dtype
    torch.float32
    """

    def __init__(
        self, spec: PreprocessSpec, device: torch.device = CPU, *, pin: Pin | None = None
    ) -> None:
        self.device = device
        self._pin = pin
        self._normalise = Normalise(spec)
        if pin is not None:
            self._normalise.to(device)

    def ready(self, batch: Batch) -> Batch:
        """A batch of prepared pixels, made ready to leave."""
        pin = self._pin
        if pin is None:
            return replace(batch, inputs=self._normalise(batch.inputs))
        return batch.each(lambda value: pin(value) if value.device.type == "cpu" else value)

    def land(self, batch: Batch) -> Batch:
        """What `ready` gave, as the model takes it."""
        if self._pin is None:
            return batch
        moved = batch.to(self.device)
        return replace(moved, inputs=self._normalise(moved.inputs))


def landing_on(device: torch.device, spec: PreprocessSpec) -> Landing:
    """Over pinned memory to CUDA; elsewhere floats are made on the processor."""
    return Landing(spec, device, pin=torch.Tensor.pin_memory if device.type == "cuda" else None)
