"""Parts of Opsin that need more than the serving install, and the command that adds them."""

from __future__ import annotations

import importlib
from types import ModuleType

from opsin.core.allocator import prepare_environment
from opsin.core.errors import WrongUsage

TRAINING = (
    "captum",
    "jinja2",
    "matplotlib",
    "onnx",
    "onnxscript",
    "safetensors",
    "sklearn",
    "timm",
    "torch",
    "torchvision",
)
"""The modules that the extra `train` brings."""

INSTALL = 'pip install "opsin[train]"'


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
        raise WrongUsage(
            f"{purpose} needs the package {top}, which is not installed",
            code="missing_extra",
            fix=INSTALL if top in TRAINING else f"pip install {top}",
        ) from None


def load_torch(purpose: str, *, tune: bool) -> None:
    """Load torch to train with it; with `tune`, what its libraries read as they are loaded is set.

    Raises `WrongUsage` (code `missing_extra`).
    """
    if tune:
        prepare_environment()
    require("torch", purpose=purpose)
