"""DataLoaders of somebody's own in the place of a folder: how they are given, what they allow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from opsin.api.own.parts import Own
from opsin.core.config import TrainConfig
from opsin.core.errors import WrongUsage
from opsin.data.own_loader import OwnLoader
from opsin.tasks.losses import LOSSES
from opsin.tasks.own import OwnTask

_SPLITS = ("train", "val", "test")
_OF_FOLDERS = {
    **dict.fromkeys(("augment", "resize", "image_size", "jpeg_gap"), "do it in the dataset"),
    **dict.fromkeys(("batch_size", "workers"), "give it to the DataLoader"),
    "balance": "give the DataLoader a sampler, or the loss its weights",
    "label_smoothing": "let the loss do it",
    **dict.fromkeys(("val_frac", "test_frac"), "split the dataset before"),
    **dict.fromkeys(("max_bad_frac", "follow_links", "strict", "samples"), "leave it out"),
    "graphs": "leave it out",
}


def own_loaders(
    data: Any, *, seed: int, say: Callable[[str], None] = lambda text: None
) -> dict[str, OwnLoader]:
    """`data`, (train, val) or (train, val, test) or a dict of them, by the names of the splits.

    Raises `WrongUsage`.
    """
    given = dict(zip(_SPLITS, data, strict=False)) if isinstance(data, tuple | list) else data
    many = isinstance(data, tuple | list) and len(data) > len(_SPLITS)
    if not isinstance(given, Mapping) or many or not {"train", "val"} <= set(given) <= set(_SPLITS):
        came = ", ".join(map(str, given)) if isinstance(given, Mapping) else type(data).__name__
        raise WrongUsage(
            f"data is a folder, or DataLoaders (train, val) or (train, val, test), came {came}",
            code="wrong_data",
            where="data",
            fix='data={"train": DataLoader(...), "val": DataLoader(...)}',
        )
    return {
        name: OwnLoader(given[name], name, seed=seed, learns=name == "train", say=say)
        for name in _SPLITS
        if name in given
    }


def describe(loaders: Mapping[str, OwnLoader]) -> str:
    """What `config.yaml` says of the data."""
    counts = " and ".join(f"{each.size} {name}" for name, each in loaders.items())
    return f"DataLoaders of {counts} samples"


def identity(loaders: Mapping[str, OwnLoader]) -> dict[str, Any]:
    """What a resumed run must have in common with its beginning: what it learns from in which
    order, and what it is judged by. The samples themselves are not looked at.
    """
    train, val = loaders["train"], loaders["val"]
    order = hashlib.sha256(repr(train.plan(1)).encode()).hexdigest()
    return {
        "train_samples": len(train.loader.dataset),
        "train_batch_size": train.batch_size,
        "train_order": order[:16],
        "val_samples": val.size,
    }


def own_task(own: Own, config: TrainConfig) -> OwnTask:
    """What the outputs mean: no more than the loss says."""
    return OwnTask(own.loss if own.loss is not None else LOSSES.load(config.loss), own.metrics)


def refuse_settings(own: Own, values: Mapping[str, Any], config: TrainConfig) -> None:
    """Raise `WrongUsage` for what DataLoaders leave no room for, and for what they need."""
    if own.model is None:
        raise WrongUsage(
            "with DataLoaders the model is a module of your own: opsin cannot know how many "
            "outputs one of its own would need",
            code="no_model",
            where="model",
            fix="model=torch.nn.Sequential(...), or any nn.Module",
        )
    if values.get("loss") is None and own.loss is None:
        raise WrongUsage(
            "DataLoaders do not say what is to be learnt from their targets",
            code="no_loss",
            where="loss",
            fix="loss=torch.nn.CrossEntropyLoss(), any function (outputs, targets) -> tensor, or "
            f"one of {', '.join(LOSSES)}",
        )
    for name, instead in _OF_FOLDERS.items():
        if getattr(config, name) != TrainConfig.model_fields[name].default:
            raise WrongUsage(
                "this setting is for folders of pictures",
                code="setting_not_for_own",
                where=name,
                fix=instead,
            )
