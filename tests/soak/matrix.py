"""What is trained while it is killed. A row is a name and settings of `opsin train`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

SHARED: dict[str, Any] = {
    "image_size": 16,
    "epochs": 6,
    "batch_size": 6,
    "lr": 0.01,
    "device": "cpu",
    "threads": 1,
    "layout": "contiguous",
    "bundle": False,
    "report": False,
    "name": "run",
}

ROWS: dict[str, dict[str, Any]] = {
    "plain": {},
    "augment light": {"augment": "light"},
    "augment trivial": {"augment": "trivial"},
    "mixup": {"augment": "light,mixup=0.4", "layout": "channels_last"},
    "cutmix": {"augment": "hflip,cutmix", "balance": "sampling"},
    "geometry": {"augment": "hflip,vflip,rotate=20,crop=0.1,translate=0.1,zoom=0.2,shear=10"},
    "colours": {"augment": "brightness,contrast,saturation,hue,gamma,sharpness,blur,noise,erasing"},
    "policy": {"augment": "randaugment,resized_crop"},
    "nothing kept": {"cache": False, "tune": False},
    "dropout": {"dropout": 0.4},
    "ema": {"ema": 0.9},
    "accumulate": {"accumulate": 3},
    "early stopping": {"patience": 1, "lr": 0.05, "epochs": 12, "monitor": "val_accuracy"},
    "one cycle": {"schedule": "one_cycle"},
    "warm-up": {"schedule": "cosine_restarts", "warmup_epochs": 1.5, "optimizer": "nadam"},
    "frozen stages": {"model": "lenet", "image_size": 32, "fine_tune": True, "epochs": 4},
    "frozen, augmented": {
        "model": "lenet", "image_size": 32, "fine_tune": True, "epochs": 3, "augment": "light",
        "optimizer": "sgd", "ema": 0.8,
    },
    "head by steps on views": {
        "model": "lenet", "image_size": 32, "freeze": True, "head": "trained", "augment": "light",
        "views": 2,
    },
    "from a layer on": {
        "model": "lenet", "image_size": 32, "fine_tune": True, "unfreeze": "4", "epochs": 4,
    },
    "sampling": {"balance": "sampling"},
    "class weights": {"balance": "weights", "loss": "focal"},
    "plateau": {"schedule": "plateau", "lr": 0.05, "epochs": 9},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16", "optimizer": "sgd", "clip_norm": 1.0},
    "several bests": {"keep_best": ("val_accuracy", "val_macro_f1"), "restore_best": False},
    "penalties": {"l1": 1e-3, "l2": 1e-2, "clip_norm": 0.5, "layer_decay": 0.7,
                  "optimizer": "rmsprop", "momentum": 0.8},
    "logs": {"log_rates": True, "log_gradients": True, "samples": 2, "optimizer": "adagrad"},
    "everything": {
        "augment": "trivial", "dropout": 0.3, "ema": 0.9, "accumulate": 2, "patience": 3,
        "schedule": "one_cycle", "warmup_epochs": 1, "balance": "sampling", "clip_norm": 1.0,
        "label_smoothing": 0.1, "keep_best": ("val_accuracy",), "optimizer": "adamw",
        "weight_decay": 0.05,
    },
    "two processes": {"processes": 2, "augment": "light", "dropout": 0.2},
}  # fmt: skip
"""Whatever must not matter to a kill belongs here."""

SAVING: list[dict[str, Any]] = [
    {"checkpoint_steps": 1},
    {"checkpoint_steps": 3},
    {"checkpoint_steps": 7},
    {"checkpoint_seconds": 0.05},
    {"checkpoint_steps": 1000},
]
"""How often it saves, which must not matter either."""


def write_pictures(folder: Path) -> Path:
    """Forty-odd digits of four classes, the last of them rare."""
    from opsin.testing.digits import digit_files

    files = digit_files(per_class=13, planted_faults=False)
    for name, data in files.items():
        digit, number = name.split("/")[0], int(name[-8:-4])
        if digit in "012" or (digit == "3" and number < 60):
            (folder / digit).mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    return folder


def removed(folder: Path) -> None:
    """Nothing of a trial that went well is kept."""
    shutil.rmtree(folder, ignore_errors=True)
