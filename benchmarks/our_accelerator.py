"""Opsin on a card: python our_accelerator.py JOB matrix|synthetic|graphs|stored|flipped."""

from __future__ import annotations

import csv
import importlib.util
import json
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from opsin.core.allocator import prepare_environment

prepare_environment()

import torch  # noqa: E402
from torchvision import models  # noqa: E402

import opsin  # noqa: E402
from opsin.core.batch import Batch  # noqa: E402
from opsin.tasks.classification import Classification  # noqa: E402
from opsin.training.callback import Callback  # noqa: E402
from opsin.training.determinism import reproducible  # noqa: E402
from opsin.training.events import EpochStart, ValidationStart  # noqa: E402
from opsin.training.graphs import GraphedForward  # noqa: E402
from opsin.training.optim import make_optimizer  # noqa: E402
from opsin.training.precision import Precision  # noqa: E402
from opsin.training.probe import lay_out  # noqa: E402
from opsin.training.processes import ALONE  # noqa: E402
from opsin.training.step import Moment  # noqa: E402
from opsin.training.supervised import SupervisedStep  # noqa: E402

WARM = 10


def main() -> None:
    """Measure what is asked for, and say it as one line of JSON."""
    job = SimpleNamespace(**json.loads(Path(sys.argv[1]).read_text("utf-8")))
    what = sys.argv[2]
    if what == "matrix":
        print(json.dumps(matrix(job)))
    elif what in ("synthetic", "graphs"):
        print(json.dumps({"images_s": job.batch / step_s(job, graphs=what == "graphs")}))
    else:
        print(json.dumps({"images_s": stored(job, "flip" if what == "flipped" else "none")}))


def matrix(job: SimpleNamespace) -> dict[str, Any]:
    """Operations a second of a product of square matrices, the median of twenty."""
    device, side = torch.device(job.device), job.matrix
    kind = getattr(torch, job.precision)
    a, b = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
    seconds = []
    for _ in range(25):
        wait(device)
        started = time.perf_counter()
        a @ b
        wait(device)
        seconds.append(time.perf_counter() - started)
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else "the processor"
    rate = 2 * side**3 / statistics.median(seconds[5:])
    return {"name": name, "flop_s": rate, "torch": torch.__version__}


def step_s(job: SimpleNamespace, *, graphs: bool) -> float:
    """Seconds of the product's own step, its checks in it, on one batch that is there already."""
    device = torch.device(job.device)
    classes = tuple(str(number) for number in range(1000))
    model = models.get_model(job.network, num_classes=len(classes)).to(device)
    lay_out(model, "channels_last")
    step = SupervisedStep(
        model,
        Classification(classes),
        make_optimizer("sgd", model.parameters(), lr=0.1),
        precision=Precision(job.precision, device),
    )
    shape = (job.batch, 3, job.size, job.size)
    said: list[str] = []
    if graphs:
        step.graphs = GraphedForward(shape, say=said.append)
    with reproducible(device):
        step.begin(device, ALONE)
        if said:
            raise SystemExit(said[0])
        step.learn_mode()
        images = torch.rand(shape, device=device)
        ids = tuple(str(number) for number in range(job.batch))
        batch = Batch(images, torch.randint(0, len(classes), (job.batch,), device=device), ids)
        seconds = []
        for number in range(WARM + job.steps):
            started = time.perf_counter()
            moment = Moment(1, number + 1, 10**6, 1e-3, job.batch, number)
            values = step.learn(batch, moment, lambda optimizer, loss: None)
            float(values["loss"].mean())
            wait(device)
            seconds.append(time.perf_counter() - started)
    if said:
        raise SystemExit(said[0])
    return statistics.median(seconds[WARM:])


class Clock(Callback):
    """Seconds of the steps of each epoch but the first, what is waited for batches included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def on_epoch_start(self, start: EpochStart) -> None:
        """No batch has been asked for yet."""
        self._began = time.perf_counter()

    def on_validation_start(self, start: ValidationStart) -> None:
        """The last step is done, all but its update: its loss has been fetched."""
        if start.epoch > 1:
            self.seconds.append(time.perf_counter() - self._began)


def stored(job: SimpleNamespace, augment: str) -> float:
    """Pictures a second of `opsin.train`, which keeps the decoded pictures."""
    clock = Clock()
    named = importlib.util.find_spec("timm") is not None
    run = opsin.train(
        job.data,
        model=f"timm:{job.network}" if named else models.get_model(job.network, num_classes=10),
        image_size=job.size,
        batch_size=job.batch,
        epochs=job.epochs,
        optimizer="sgd",
        lr=0.01,
        precision=job.precision,
        layout="channels_last",
        device=job.device,
        augment=augment,
        val_frac=0.05,
        test_frac=0.05,
        callbacks=[clock],
        bundle=False,
        report=False,
        project=Path(job.folder) / "runs",
    )
    with (run.path / "predictions.csv").open(newline="", encoding="utf-8") as rows:
        pictures = sum(row["split"] == "train" for row in csv.DictReader(rows))
    return pictures * len(clock.seconds) / sum(clock.seconds)


def wait(device: torch.device) -> None:
    """Until the card has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
