"""Trainings by several processes, of which one fails on purpose; see `test_ranks.py`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import torch
from tests.training.points import Points, make_trainer
from torch import nn

from opsin.api.running.ranks import rank_here, started_ranks
from opsin.core.config import TrainConfig
from opsin.core.errors import DataRefused
from opsin.core.progress import Silent
from opsin.training.callback import Answer, Callback
from opsin.training.events import BatchEnd


class FailAt(Callback):
    """Fails in one way after step 3 of epoch 2."""

    def __init__(self, how: str) -> None:
        self.how = how

    def on_batch_end(self, end: BatchEnd) -> Answer:
        if (end.epoch, end.step) == (2, 3):
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            elif self.how == "refused":
                raise DataRefused("a picture is gone", code="gone", where="a.jpg", fix="look")
            elif self.how == "crash":
                raise SystemExit("numbers ran out")
            elif self.how == "slow":
                time.sleep(60)
        return None


def learn(folder: str, how: str = "", progress: object = None, processes: int = 2) -> nn.Module:
    """The model after 3 epochs, or a failure of the last rank: "late" ones fail before they meet
    the others.
    """
    config = TrainConfig(data=Path(folder), device="cpu", processes=processes)
    fails = rank_here() == processes - 1
    if fails and how == "late":
        raise ValueError("cannot start")
    Path(folder, f"{rank_here()}.pid").write_text(str(os.getpid()))
    arguments = {"folder": folder, "how": how, "processes": processes}
    with started_ranks(config, "tests.api.ranks_targets:learn", arguments) as ranks:
        torch.set_num_threads(1)
        train = Points(90, 1, shuffle=True)
        model = nn.Sequential(nn.Linear(2, 3))
        nn.init.zeros_(model[0].weight)
        nn.init.zeros_(model[0].bias)
        run = make_trainer(
            Path(folder) / "checkpoints",
            epochs=3,
            model=model,
            train=train,
            processes=ranks,
            callbacks=(FailAt(how),) if fails or how == "slow" else (),
        )
        for stage in run.stages:
            stage.train.share = stage.val.share = ranks.share
        run.fit()
        ranks.leave()
    return model


if __name__ == "__main__":
    learn(sys.argv[1], sys.argv[2], Silent())
