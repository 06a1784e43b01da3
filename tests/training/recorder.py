"""What `torch.cuda.make_graphed_callables` does, without a card: the same warm-up, fixed memory for
inputs, outputs and gradients, which each call overwrites, and a backward of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Recorder:
    """`calls`: replays; `warm`: passes before recording."""

    def __init__(self, *, off: float = 0.0, fails: str = "") -> None:
        self.off = off
        self.fails = fails
        self.warm = 0
        self.calls = 0

    def __call__(
        self, module: nn.Module, args: tuple[torch.Tensor, ...], *, allow_unused_input: bool
    ) -> Any:
        assert allow_unused_input
        assert not torch.is_autocast_enabled("cpu")
        assert module.training
        (static,) = args
        weights = [each for each in module.parameters() if each.requires_grad]
        for _ in range(3):
            self.warm += 1
            out = module(static)
            torch.autograd.grad(out, weights, torch.empty_like(out), allow_unused=True)
        if self.fails:
            raise RuntimeError(f"{self.fails}\nand more")
        static_out = torch.empty_like(out)
        static_grads = [torch.empty_like(each) for each in weights]
        recorder = self

        class Graphed(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, inputs: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
                recorder.calls += 1
                static.copy_(inputs)
                with torch.enable_grad():
                    ctx.out = module(static)
                static_out.copy_(ctx.out)
                return static_out.detach()

            @staticmethod
            def backward(ctx: Any, *grads: torch.Tensor) -> Any:  # type: ignore[override]
                found = torch.autograd.grad(ctx.out, weights, grads[0], allow_unused=True)
                for kept, grad in zip(static_grads, found, strict=True):
                    kept.copy_(torch.zeros_like(kept) if grad is None else grad)
                    kept.add_(recorder.off)
                return (None, *(each.detach() for each in static_grads))

        return lambda inputs: Graphed.apply(inputs, *weights)
