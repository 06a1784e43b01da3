"""Parts of Opsin that need more than the serving install, and the command that adds them."""

from __future__ import annotations

import importlib
from types import ModuleType

from opsin.core.errors import WrongUsage

EXTRA_OF_MODULE = {
    "captum": "train",
    "jinja2": "train",
    "matplotlib": "train",
    "onnx": "train",
    "onnxscript": "train",
    "safetensors": "train",
    "sklearn": "train",
    "torch": "train",
    "timm": "timm",
    "torchvision": "timm",
}


def require(module: str, *, purpose: str) -> ModuleType:
    """Import `module`, or say which install command brings it.

    Raises `WrongUsage` (code `missing_extra`) when the package is absent.

    >>> require("json", purpose="this example").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise
        extras = "train" if EXTRA_OF_MODULE.get(top) == "train" else "train,timm"
        raise WrongUsage(
            f"{purpose} needs the package {top}, which is not installed",
            code="missing_extra",
            fix=f'pip install "opsin[{extras}]"',
        ) from None
