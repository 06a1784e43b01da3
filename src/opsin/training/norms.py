"""The batch-norms of a model."""

from __future__ import annotations

from torch import nn

KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def norms(module: nn.Module) -> tuple[nn.Module, ...]:
    """Every batch-norm of `module`: kept in inference mode when a trained model is fine-tuned."""
    return tuple(part for part in module.modules() if isinstance(part, KINDS))
