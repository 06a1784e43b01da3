"""A module, a loss, a metric and a callback of one's own, on a folder of pictures.

python examples/own_model.py FOLDER [PROJECT]
"""

import sys

import torch
from torch import nn
from torchmetrics.classification import MulticlassF1Score

import opsin
from opsin.training.callback import Ask, Callback
from opsin.training.events import EpochEnd


class Small(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.look = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2))
        self.decide = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, classes))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.decide(self.look(pictures))


def confident(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Cross-entropy, and a little for every answer that is not sure: a value for each picture."""
    log_p = logits.log_softmax(1)
    entropy = -(log_p.exp() * log_p).sum(1)
    return nn.functional.cross_entropy(logits, classes, reduction="none") + 0.1 * entropy


class GoodEnough(Callback):
    def on_epoch_end(self, end: EpochEnd) -> Ask | None:
        return Ask.STOP if end.record.values["val_accuracy"] > 0.95 else None


def train(folder: str, project: str = "runs", classes: int = 10, epochs: int = 12) -> nn.Module:
    model = Small(classes)
    run = opsin.train(
        folder,
        model=model,
        loss=confident,
        metrics={"f1": MulticlassF1Score(classes)},
        callbacks=[GoodEnough()],
        monitor="val_f1",
        image_size=32,
        epochs=epochs,
        lr=0.01,
        project=project,
    )
    print(run.path, run.accuracy, run.report["test", "all", "f1"])
    return model  # with the best weights


if __name__ == "__main__":
    train(*sys.argv[1:3])
