"""Parts of Opsin that need more than the serving install, and the command that adds them."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

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
        raise _lacking(top, purpose) from None


def expect(module: str, *, purpose: str) -> None:
    """What `require` says where `module` is absent, without loading it.

    >>> expect("json", purpose="this example")
    """
    if importlib.util.find_spec(module) is None:
        raise _lacking(module, purpose)


def _lacking(module: str, purpose: str) -> WrongUsage:
    return WrongUsage(
        f"{purpose} needs the package {module}, which is not installed",
        code="missing_extra",
        fix=INSTALL if module in TRAINING else f"pip install {module}",
    )
