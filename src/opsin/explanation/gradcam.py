"""Grad-CAM: where in the picture the evidence for one class lies.

The channels of a convolution's output are weighted by the mean gradient of the class's logit,
summed, and what is negative is cut off. Source: Selvaraju et al., "Grad-CAM: Visual Explanations
from Deep Networks via Gradient-based Localization" (ICCV 2017, arXiv 1610.02391), equations 1
and 2, as computed by Captum's `LayerGradCam`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from opsin.core.errors import WrongUsage
from opsin.core.extras import require


def grad_cam(model: nn.Module, layer: nn.Module, inputs: Tensor, outputs: Sequence[int]) -> Tensor:
    """The heat of class `outputs[i]` on picture i: B H W in [0, 1], the dtype of `inputs`.

    `inputs`: float B C H W, normalised. `layer`: a module of `model` whose output is B C h w
    (`last_conv` finds one). `model` gives logits B K; where it gives one logit (B 1 or B), class 1
    is "positive" and class 0 is explained by the negated logit.

    Each map is divided by its own maximum, so maps are not comparable in strength; a picture
    without any positive evidence gives zeros. The model is evaluated in eval mode and left as it
    was found: modes, parameters' gradients and `requires_grad`. Raises `WrongUsage`.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> grad_cam(net, net[0], torch.rand(2, 3, 16, 16), [0, 3]).shape
    torch.Size([2, 16, 16])
    """
    require("captum", purpose="Grad-CAM")
    from captum.attr import LayerGradCam

    if inputs.ndim != 4 or len(outputs) != len(inputs):
        raise WrongUsage(
            f"grad_cam takes inputs of B C H W and B outputs; "
            f"got {tuple(inputs.shape)} and {len(outputs)} outputs"
        )
    # Captum asks for the gradient at the layer itself, so frozen parameters are no obstacle, and
    # hands a copy of the layer's output on, so an in-place ReLU behind it changes nothing.
    with torch.inference_mode(False), torch.enable_grad(), _eval_mode(model):
        own = inputs.detach().clone()  # a tensor made in inference mode could not be differentiated
        heat: Tensor = LayerGradCam(_Logits(model, layer, outputs), layer).attribute(
            own, target=list(outputs), relu_attributions=True
        )
    size = (inputs.shape[-2], inputs.shape[-1])
    heat = F.interpolate(heat.detach(), size=size, mode="bilinear", align_corners=False)[:, 0]
    top = heat.amax(dim=(1, 2), keepdim=True)
    return torch.where(top > 0, heat / top, torch.zeros_like(heat)).clamp(0, 1)


def last_conv(model: nn.Module, inputs: Tensor) -> nn.Conv2d:
    """The `nn.Conv2d` that runs last among those with a spatial output (more than 1 x 1).

    `inputs`: a batch as the model takes it; one forward pass without gradients tells the order,
    which the order of definition does not. Raises `WrongUsage` (code `no_conv`) if there is none.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1))
    >>> last_conv(net, torch.zeros(1, 3, 8, 8)) is net[0]
    True
    """
    spatial: list[nn.Conv2d] = []

    def note(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if isinstance(module, nn.Conv2d) and output.shape[-2] * output.shape[-1] > 1:
            spatial.append(module)

    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    handles = [module.register_forward_hook(note) for module in convs]
    try:
        with torch.no_grad(), _eval_mode(model):
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    if not spatial:
        raise WrongUsage(
            f"{type(model).__name__} has no convolution with a spatial output "
            f"({len(convs)} convolutions in all), so Grad-CAM has nothing to look at",
            code="no_conv",
            fix="give a model with convolutions, or a layer with an output of B C h w",
        )
    return spatial[-1]


class _Logits:
    """Inputs to logits B K: one logit becomes the two classes (-z, z). Refuses what Grad-CAM is
    not defined for before Captum meets it.
    """

    def __init__(self, model: nn.Module, layer: nn.Module, outputs: Sequence[int]) -> None:
        self.model = model
        self.layer = layer
        self.outputs = outputs

    def __call__(self, inputs: Tensor) -> Tensor:
        shapes: list[tuple[int, ...]] = []

        def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                raise WrongUsage(f"the layer's output is a {type(output).__name__}, not a tensor")
            shapes.append(tuple(output.shape))

        handle = self.layer.register_forward_hook(note)
        try:
            logits: Tensor = self.model(inputs)
        finally:
            handle.remove()
        if len(shapes) != 1 or len(shapes[0]) != 4:
            raise WrongUsage(
                "Grad-CAM needs a layer that runs once and gives B C h w; "
                f"{type(self.layer).__name__} gave {shapes or 'nothing: it did not run'}",
                fix="take the layer that last_conv(model, inputs) gives",
            )
        if logits.ndim == 1:
            logits = logits[:, None]
        if logits.shape[1] == 1:
            logits = torch.cat([-logits, logits], dim=1)
        wrong = [index for index in self.outputs if not 0 <= index < logits.shape[1]]
        if wrong:
            raise WrongUsage(
                f"outputs must be class indices from 0 to {logits.shape[1] - 1}; got {wrong[0]}"
            )
        return logits


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards each module has its own mode back (they may differ)."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
