"""What every picture classifier has: a backbone that describes a picture, a head that decides."""

from __future__ import annotations

import torch
from torch import nn

from opsin.core.errors import WrongUsage


class Classifier(nn.Module):
    """`head(backbone(x))`: backbone from float32 B C H W to B F, head from B F to B outputs.

    The split is what lets a frozen backbone be computed once (`opsin.features`).
    """

    image_size_px: int
    backbone: nn.Module
    head: nn.Linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float32 B C H W to B outputs (logits)."""
        outputs: torch.Tensor = self.head(self.backbone(x))
        return outputs


class DropoutLinear(nn.Linear):
    """`linear` with the share `dropout` of its inputs dropped in training mode, for any shape that
    `nn.Linear` takes. Raises `WrongUsage` for a share outside [0, 1).

    A linear layer itself, and not a layer before one: the names of its weights stay, so bundles
    and weights files do not know of it, and a head that learns alone from stored features has it.
    """

    def __init__(self, linear: nn.Linear, dropout: float) -> None:
        if not 0 <= dropout < 1:
            raise WrongUsage(f"must be at least 0 and less than 1, came {dropout}", where="dropout")
        # Nothing is drawn here: the first weights are those of the run without dropout.
        super().__init__(linear.in_features, linear.out_features, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.dropout = dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float32 B F to B outputs."""
        return super().forward(nn.functional.dropout(x, self.dropout, self.training))

    def extra_repr(self) -> str:
        """What `print(model)` shows of it."""
        return f"{super().extra_repr()}, dropout={self.dropout}"


def flat_size(backbone: nn.Module, in_chans: int, image_size: int) -> int:
    """The number of features F that `backbone` makes of a square picture.

    Raises `WrongUsage` when the picture is too small for it.
    """
    training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            features = backbone(torch.zeros(1, in_chans, image_size, image_size))
    except RuntimeError as error:
        raise WrongUsage(
            f"image_size {image_size} is too small for this model",
            code="image_too_small",
            where="image_size",
            fix="give a larger --image-size",
        ) from error
    finally:
        backbone.train(training)
    return int(features.shape[1])


def count_parameters(model: nn.Module) -> int:
    """Parameters and batch-norm's running statistics, as Keras counts them.

    >>> count_parameters(nn.Linear(3, 2))
    8
    """
    counted = [p.numel() for p in model.parameters()]
    counted += [buffer.numel() for name, buffer in model.named_buffers() if "running_" in name]
    return sum(counted)
