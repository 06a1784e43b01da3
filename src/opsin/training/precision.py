"""The arithmetic of a step: float32, or 16 bits where they do no harm (mixed precision)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch

from opsin.core.config import Precision as PrecisionName
from opsin.core.errors import NumbersWrong, WrongUsage

MIN_SCALE = 1e-4
"""Below it no scale helps: the gradients are not too large, they are wrong. Source: fairseq."""


class Precision:
    """`float32`, `bfloat16` or `float16` on a device. Weights and their updates are always float32.
    `auto` is `float32` here: a run has settled it before (`running/tuning.py`), a trial need not.

    A step: `with autocast()` around the forward pass, `scale(loss).backward()`, `unscale`, then
    what looks at gradients (penalties, clipping), then `step`. With float16 the loss is scaled up,
    so that small gradients do not become 0, and a step whose gradients overflow is left out.
    Source: Micikevicius et al., Mixed precision training (2018).

    Two optimizers need one each, because each `step` adapts the scale to its own gradients.
    Raises `WrongUsage` for what the device cannot do, found by trying.
    """

    def __init__(self, name: PrecisionName, device: torch.device) -> None:
        self.name = "float32" if name == "auto" else name
        self.device = device
        self._dtype: torch.dtype = getattr(torch, self.name)
        if self.name != "float32":
            self._try()
        self._scaler = torch.amp.GradScaler(device.type) if name == "float16" else None

    def autocast(self, *, cache: bool = True) -> AbstractContextManager[object]:
        """The context of a forward pass. Outputs may come in 16 bits: `.float()` before a loss.
        `cache`: each weight is made 16 bits once in a pass, however often it is used.
        """
        if self.name == "float32":
            return nullcontext()
        enabled = None if cache else False
        return torch.autocast(self.device.type, dtype=self._dtype, cache_enabled=enabled)

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        """`loss` as `backward` shall see it."""
        return loss if self._scaler is None else self._scaler.scale(loss)

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Give the gradients their true size; once a step. They may hold inf with float16."""
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Update the weights; False when that was left out because a gradient was not finite.

        Raises `NumbersWrong` when the scale has been halved down to nothing.
        """
        if self._scaler is None:
            optimizer.step()
            return True
        before = self._scaler.get_scale()
        self._scaler.step(optimizer)
        self._scaler.update()
        now = self._scaler.get_scale()
        if now < MIN_SCALE:
            raise NumbersWrong(
                "the gradients of float16 stay infinite however far the loss is scaled down",
                code="diverged",
                fix="--precision bfloat16 or float32, or a lower --lr",
            )
        return now >= before

    def state(self) -> dict[str, float | int]:
        """What a resumed run needs, as JSON; empty where nothing is scaled."""
        return {} if self._scaler is None else dict(self._scaler.state_dict())

    def load(self, state: Mapping[str, float | int]) -> None:
        """Go on from `state`."""
        if self._scaler is not None and state:
            self._scaler.load_state_dict(dict(state))

    def _try(self) -> None:
        """One convolution forward and back, of ones, so that nothing is drawn."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                weight = torch.ones(1, 1, 1, 1, device=self.device, requires_grad=True)
                with self.autocast():
                    output = torch.nn.functional.conv2d(weight.detach() + 0, weight)
                scaler = torch.amp.GradScaler(self.device.type, enabled=self.name == "float16")
                scaler.scale(output.float().sum()).backward()  # type: ignore[no-untyped-call]
                scaler.unscale_(torch.optim.SGD([weight], lr=0.0))
            if output.dtype == self._dtype:
                return
            came = f"it came out as {output.dtype}"
        except (RuntimeError, TypeError, AssertionError) as error:
            came = (str(error) or type(error).__name__).splitlines()[0]
        raise WrongUsage(
            f"{self.device.type} cannot train in {self.name} here ({came})",
            code="no_precision",
            where="precision",
            fix="--precision float32",
        )
