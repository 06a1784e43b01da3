"""What two processes do together for `test_distributed.py`, in one start of both.

python ranks_script.py FOLDER, with torchrun's variables set. Each rank writes what it found as
`<rank>.json`, and the weights of each training as `<name>.<rank>.safetensors`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tests.training.points import CLASSES, CPU, Points, StopAt, network
from torch import nn

from opsin.core.batch import Batch
from opsin.core.errors import Interrupted
from opsin.core.micro_batch import MicroBatch
from opsin.tasks.classification import Classification
from opsin.training.callback import Callback
from opsin.training.checkpoint import CheckpointStore
from opsin.training.interrupt import StopRequest
from opsin.training.loop import Trainer
from opsin.training.monitor import Monitor
from opsin.training.norms import norms
from opsin.training.optim import make_optimizer
from opsin.training.processes import ALONE, Processes
from opsin.training.rendezvous import joined
from opsin.training.saving import Saving
from opsin.training.stage import Stage
from opsin.training.supervised import SupervisedStep


class Uneven(Points):
    """The last batch has one point, the one before it an odd number."""

    def plan(self, epoch: int) -> list[list[int]]:
        *batches, last = super().plan(epoch)
        return [*batches, last[:-1], last[-1:]]


class Hidden:
    """Points as a frozen part of the network sees them."""

    def __init__(self, part: nn.Module, points: Points) -> None:
        self.part, self.points = part, points
        self.size, self.plan = points.size, points.plan
        self.share = points.share

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        self.points.share = self.share
        for batch in self.points.epoch(epoch, start):
            with torch.no_grad():
                seen = self.part(batch.inputs)
            yield Batch(seen, batch.targets, batch.ids, batch.filler)


def plain() -> nn.Sequential:
    """No batch-norm and no dropout: a sum over the samples is all that happens to a batch."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 3))


def trainer(
    kind: str,
    folder: Path,
    processes: Processes = ALONE,
    *,
    stop: StopRequest | None = None,
    callbacks: tuple[Callback, ...] = (),
    epochs: int = 3,
) -> Trainer:
    """One of several trainings: "sgd", "adam", "parts", "stages", "features", "norms"."""
    model = network() if kind == "norms" else plain()
    # Batch-norm of vectors cannot learn from a rank's single row.
    train = (Points if kind == "norms" else Uneven)(90, 1, shuffle=True)
    val = Points(33, 2, shuffle=False)
    for points in (train, val):  # else every answer would be right
        points.targets[::5] = (points.targets[::5] + 1) % 3

    def stage(name: str, module: nn.Module, learning: Any, data: Any, **options: Any) -> Stage:
        rate = 0.02 if kind == "adam" else 0.1
        made = make_optimizer("adam" if kind == "adam" else "sgd", learning, lr=rate)
        step = SupervisedStep(module, Classification(CLASSES), made, **options)
        for loader in data:
            loader.share = processes.share
        return Stage(name, epochs, rate, *data, step)

    everything = tuple(model.parameters())
    stages = [stage("train", model, everything, (train, val), **options_of(kind))]
    if kind == "stages":
        head = tuple(model[2].parameters())
        stages = [
            stage("head", model, head, (train, val), frozen=(model[0],)),
            stage("fine-tune", model, everything, (train, val), frozen=norms(model)),
        ]
    if kind == "features":
        seen = Hidden(model[:2], train), Hidden(model[:2], val)
        stages[0] = stage("head", model[2], tuple(model[2].parameters()), seen)
        stages.append(stage("fine-tune", model, everything, (train, val)))
    return Trainer(
        model,
        stages,
        checkpoints=CheckpointStore(folder),
        device=CPU,
        seed=5,
        monitors=(Monitor("val_loss"), Monitor("val_macro_f1", higher=True)),
        callbacks=callbacks,
        stop=stop,
        saving=Saving(steps=1),
        processes=processes,
    )


def options_of(kind: str) -> dict[str, Any]:
    if kind != "parts":
        return {}
    return {"micro": MicroBatch(3), "clip_norm": 0.5, "l1": 1e-3, "l2": 1e-2}


KINDS = ("sgd", "adam", "parts", "stages", "features", "norms")


def together(folder: Path, processes: Processes) -> dict[str, Any]:
    """Everything that is tried with both processes."""
    rank = processes.rank
    found: dict[str, Any] = {"threads": torch.get_num_threads()}
    found["any"] = processes.any(rank == 1, False, rank == 0)
    found["sum"] = processes.sum({"a": 0.1, "b": 1 / 3} if rank else {"a": 0.2})
    rows = torch.arange(3 * rank).reshape(-1, 1)
    found["gather"] = processes.gather(rows).tolist()
    found["gather bool"] = processes.gather(torch.tensor([True, False] if rank else [])).tolist()
    found["gather none"] = list(processes.gather(torch.empty(0, 3)).shape)
    found["text"] = processes.share_text(None if rank else "r\u00e4n 1")
    for kind in KINDS:
        run = trainer(kind, folder / kind, processes)
        history = run.fit()
        save_file(run.model.state_dict(), folder / f"{kind}.{rank}.safetensors")
        found[kind] = [[r.epoch, r.stage, r.values] for r in history.records]

    saved, _ = CheckpointStore(folder / "one").newest(set_aside=False)
    processes.any()  # all have read it before anybody writes
    run = trainer("sgd", folder / "one", processes)
    run.fit(saved)
    save_file(run.model.state_dict(), folder / f"one.{rank}.safetensors")

    stop = StopRequest()
    asks = (StopAt(stop, 2, 3),) if rank == 0 else ()
    try:
        trainer("sgd", folder / "two", processes, stop=stop, callbacks=asks).fit()
    except Interrupted as error:
        found["stopped"] = error.message
    return found


if __name__ == "__main__":
    place = Path(sys.argv[1])
    with joined(patience_s=60) as ranks:
        torch.set_num_threads(1)
        answers = together(place, ranks)
        for _ in range(20):  # whoever is through first does not harm the others
            ranks.any(False)
        ranks.leave()
    (place / f"{ranks.rank}.json").write_text(json.dumps(answers))
    os._exit(0)  # threads of torch may abort a process that takes itself down in order
