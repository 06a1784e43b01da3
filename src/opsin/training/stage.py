"""`Stage`: a stretch of epochs in which the same parameters learn at the same rate."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from opsin.evaluation.collect import EpochLoader
from opsin.training.schedules import Schedule, constant


@dataclass(frozen=True)
class Stage:
    """`module` is called on the inputs of `train` and `val`; `frozen` are its parts (or modules
    outside it) that stay in evaluation mode; `learning` are the parameters that change. `lr` is the
    peak of `schedule`.
    """

    name: str
    epochs: int
    lr: float
    module: nn.Module
    train: EpochLoader
    val: EpochLoader
    learning: tuple[nn.Parameter, ...]
    frozen: tuple[nn.Module, ...] = ()
    schedule: Schedule = constant

    def rate(self, epoch_in_stage: int, step: int, steps: int) -> float:
        """The learning rate of step `step` of `steps` in an epoch; all count from 1."""
        done = (epoch_in_stage - 1) * steps + step - 1
        return self.lr * self.schedule(done / (self.epochs * steps))

    def learn_mode(self) -> None:
        """Training mode for what learns, evaluation mode for what is frozen; gradients likewise."""
        self.module.train()
        for part in self.frozen:
            part.eval()
        learning = {id(parameter) for parameter in self.learning}
        for parameter in self.module.parameters():
            parameter.requires_grad_(id(parameter) in learning)


def norms(module: nn.Module) -> tuple[nn.Module, ...]:
    """Every batch-norm of `module`: kept in inference mode when a trained model is fine-tuned."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    return tuple(part for part in module.modules() if isinstance(part, kinds))
