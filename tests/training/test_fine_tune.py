"""Head first, then all layers gently, through the real verbs."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from opsin.api.train import train
from opsin.core.progress import Silent


def history(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("augment", ["none", "light"])
def test_head_then_all_layers(digits: Path, tmp_path: Path, augment: str) -> None:
    """With and without augmentation: the first stage changes the head alone."""
    shared = {"model": "lenet", "image_size": 32, "project": tmp_path, "bundle": False,
              "report": False, "progress": Silent(), "augment": augment,
              "head": "trained"}  # fmt: skip
    head = train(digits, freeze=True, epochs=2, name="head", **shared)
    both = train(digits, fine_tune=True, epochs=2, name="both", **shared)
    rows = history(both.path)
    assert [row["stage"] for row in rows] == ["head", "head", "fine-tune", "fine-tune"]
    assert [float(row["lr"]) for row in rows] == [1e-3, 1e-3, 1e-5, 1e-5]
    for a, b in zip(history(head.path), rows, strict=False):
        assert a["val_loss"] == b["val_loss"]

    def newest(run: Path, kind: str) -> dict[str, torch.Tensor]:
        return load_file(sorted((run / "checkpoints").glob(f"{kind}-*"))[-1])

    first, last = newest(head.path, "step"), newest(both.path, "step")
    backbone = [k for k in first if k.startswith("model.backbone.") and k.endswith("weight")]
    assert any(not torch.equal(first[k], last[k]) for k in backbone)
    statistics = [k for k in first if "running_" in k]
    assert len(statistics) == 8
    for key in statistics:
        assert torch.equal(first[key], last[key]), "batch-norm stays in inference mode"


def test_frozen_with_and_without_the_store_agree(digits: Path, tmp_path: Path) -> None:
    """Epoch 1 of a frozen backbone: features from the store, or computed in every step."""
    import numpy as np

    from opsin.api.running.preparation import prepare
    from opsin.core.config_checks import make_config
    from opsin.data.intake import draw_split
    from opsin.data.split_loaders import split_loader
    from opsin.models.build import Origin, build
    from opsin.tasks.classification import Classification
    from opsin.training.checkpoint import CheckpointStore
    from opsin.training.loop import Trainer
    from opsin.training.stage import Stage
    from opsin.training.stages import make_stages, make_step

    config = make_config({"data": digits, "model": "lenet", "image_size": 32, "freeze": True})
    config = config.model_copy(update={"head": "trained"})
    plan = prepare(config)
    intake, store = plan.take_in(Silent())
    split = draw_split(intake, config)
    task = Classification(split.classes)
    losses = []
    for stored in (True, False):
        model = build(plan.design, Origin(), task.num_outputs, seed=0)
        loaders = [
            split_loader(intake, store, split, name, task.collate, seed=0, batch_size=32,
                         shuffle=name == "train")
            for name in ("train", "val")
        ]  # fmt: skip
        stages = make_stages(config, model, task, *loaders)
        if not stored:
            step = make_step(
                config, model, task, model.head.parameters(), device=torch.device("cpu"),
                frozen=(model.backbone,),
            )  # fmt: skip
            stages = [Stage("head", 20, 1e-3, *loaders, step)]
        trainer = Trainer(
            model, stages, checkpoints=CheckpointStore(tmp_path / str(stored)),
            device=torch.device("cpu"), seed=0,
        )  # fmt: skip
        losses.append([r.values["val_loss"] for r in trainer.fit().records])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
