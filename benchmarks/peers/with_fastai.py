"""The same by fastai: DataBlock, Learner, fit, its defaults elsewhere."""

from __future__ import annotations

import time
from pathlib import Path

from fastai.vision.all import (
    Adam,
    BnFreeze,
    Callback,
    CategoryBlock,
    CrossEntropyLossFlat,
    DataBlock,
    GrandparentSplitter,
    ImageBlock,
    Learner,
    Normalize,
    Resize,
    ResizeMethod,
    accuracy,
    get_image_files,
    parent_label,
    set_seed,
)
from job import answer, read
from torch_networks import build, frozen


class Clock(Callback):
    """Seconds of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def before_epoch(self) -> None:
        self.started = time.perf_counter()

    def after_epoch(self) -> None:
        self.seconds.append(time.perf_counter() - self.started)


def main() -> None:
    job = read()
    set_seed(job.seed)
    tree = Path(job.tree)
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=lambda path: get_image_files(path, folders=["train", "val"]),
        splitter=GrandparentSplitter("train", "val"),
        get_y=parent_label,
        item_tfms=Resize(job.size, ResizeMethod.Squish),
        batch_tfms=[Normalize.from_stats([0.5] * 3, [0.5] * 3)] if job.weights else None,
    )
    data = block.dataloaders(tree, bs=job.batch, num_workers=job.workers, device="cpu")
    classes = len(data.vocab)
    model = frozen(job.weights, classes) if job.weights else build(job.network, classes)
    clock = Clock()
    learner = Learner(
        data,
        model,
        loss_func=CrossEntropyLossFlat(),
        opt_func=Adam,
        lr=job.lr,
        metrics=accuracy,
        train_bn=False,
        cbs=[clock, *([BnFreeze()] if job.weights else [])],
    )
    with learner.no_bar(), learner.no_logging():
        learner.fit(job.epochs)
    files = get_image_files(tree / "test")
    test = data.test_dl(files, with_labels=True)
    with learner.no_bar():
        scores, labels = learner.get_preds(dl=test)
    answer(clock.seconds[: job.epochs], int((scores.argmax(1) == labels).sum()), len(labels))


if __name__ == "__main__":
    main()
