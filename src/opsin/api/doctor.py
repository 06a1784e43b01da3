"""`opsin doctor`: versions, device, memory, settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from opsin.core.device import hardware, memory, pick_device, versions
from opsin.core.extras import INSTALL, TRAINING
from opsin.core.files import disk_free

ENVIRONMENT = [
    "CI",
    "CUDA_VISIBLE_DEVICES",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "NO_COLOR",
    "OMP_NUM_THREADS",
    "TORCH_HOME",
    "XDG_CACHE_HOME",
]


def doctor() -> dict[str, Any]:
    """What this installation is, as a JSON object. torch is asked only if it is installed."""
    import importlib.util

    total, available = memory()
    missing = [name for name in TRAINING if importlib.util.find_spec(name) is None]
    names = [name for name in os.environ if name.startswith("OPSIN_")]
    return {
        "versions": versions(),
        "hardware": hardware(),
        "device": _devices() if "torch" not in missing else "torch is not installed",
        "memory_bytes": {"total": total, "available": available},
        "disk_free_bytes": disk_free(Path()),
        "missing": dict.fromkeys(missing, INSTALL),
        "environment": {
            name: os.environ[name] for name in [*ENVIRONMENT, *sorted(names)] if name in os.environ
        },
    }


def _devices() -> dict[str, Any]:
    import torch

    from opsin.training.determinism import not_deterministic

    return {
        "auto": "cuda" if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "mps": torch.backends.mps.is_available(),
        "not deterministic": "; ".join(not_deterministic(pick_device("auto"))),
    }
