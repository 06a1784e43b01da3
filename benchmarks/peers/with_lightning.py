"""The same by Lightning: a LightningModule, a Trainer with its defaults, no files."""

from __future__ import annotations

import logging
import time
import warnings

import lightning
import torch
from job import answer, read
from torch import nn
from torch_data import loaders
from torch_networks import build


class Module(lightning.LightningModule):
    def __init__(self, network: nn.Module, lr: float) -> None:
        super().__init__()
        self.network, self.lr = network, lr
        self.loss_of = nn.CrossEntropyLoss()
        self.seconds: list[float] = []
        self.right = self.total = 0

    def training_step(self, batch: list[torch.Tensor], batch_number: int) -> torch.Tensor:
        images, labels = batch
        logits = self.network(images)
        loss = self.loss_of(logits, labels)
        accuracy = (logits.argmax(1) == labels).float().mean()
        self.log_dict({"loss": loss, "accuracy": accuracy}, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: list[torch.Tensor], batch_number: int) -> None:
        images, labels = batch
        logits = self.network(images)
        accuracy = (logits.argmax(1) == labels).float().mean()
        self.log_dict({"val_loss": self.loss_of(logits, labels), "val_accuracy": accuracy})

    def test_step(self, batch: list[torch.Tensor], batch_number: int) -> None:
        images, labels = batch
        self.right += int((self.network(images).argmax(1) == labels).sum())
        self.total += len(labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

    def on_train_epoch_start(self) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self) -> None:  # after validation
        self.seconds.append(time.perf_counter() - self.started)


def main() -> None:
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    job = read()
    lightning.seed_everything(job.seed)
    train, val, test = loaders(job)
    module = Module(build(job.network, len(train.dataset.classes)), job.lr)
    trainer = lightning.Trainer(
        max_epochs=job.epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, train, val)
    trainer.test(module, test, verbose=False)
    answer(module.seconds, module.right, module.total)


if __name__ == "__main__":
    main()
