"""Small modules, data and loaders of somebody's own, also for processes that are killed."""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import opsin
from opsin.api.run_result import RunResult
from opsin.core.progress import Silent
from opsin.training.callback import Callback
from opsin.training.events import BatchEnd


class Noisy(Dataset[Any]):
    """Points x and sin(x) + 1, with noise from all three generators that people draw from."""

    def __init__(self, count: int, noise: float = 0.05) -> None:
        self.count, self.noise = count, noise

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.tensor([6 * position / self.count - 3])
        drawn = float(torch.randn(())) + random.gauss(0, 1) + float(np.random.randn())
        return x + self.noise * drawn, x.sin() + 1


def network(width: int = 16) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Dropout(0.1), nn.Linear(width, 1))


def loaders(count: int = 50, *, workers: int = 0, batch_size: int = 8) -> dict[str, Any]:
    return {
        "train": DataLoader(Noisy(count), batch_size=batch_size, shuffle=True, num_workers=workers),
        "val": DataLoader(Noisy(20, 0.0), batch_size=8),
        "test": DataLoader(Noisy(30, 0.0), batch_size=8),
    }


class KillAt(Callback):
    """Ends this process, as nothing can be heard of, after so many steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_batch_end(self, end: BatchEnd) -> None:
        if end.total == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def fit(project: Path, callbacks: Any = (), **settings: Any) -> RunResult:
    shared: dict[str, Any] = {
        "model": network(), "loss": nn.MSELoss(), "epochs": 4, "lr": 0.01, "name": "run",
        "ema": 0.9, "schedule": "cosine", "checkpoint_steps": 3, "progress": Silent(),
    }  # fmt: skip
    return opsin.train(loaders(), project=project, callbacks=callbacks, **shared | settings)


if __name__ == "__main__":
    torch.set_num_threads(1)
    fit(Path(sys.argv[1]), [KillAt(int(sys.argv[2]))])
