"""Opsin: from a folder of raw pictures to a verified model in service.

Each verb of the command line is a function here. Nothing heavy is loaded until one is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opsin.api.augment import augment as augment
    from opsin.api.cache import cache as cache
    from opsin.api.check import check as check
    from opsin.api.doctor import doctor as doctor
    from opsin.api.evaluate import evaluate as evaluate
    from opsin.api.export import export as export
    from opsin.api.find import find as find
    from opsin.api.predict import predict as predict
    from opsin.api.resume import resume as resume
    from opsin.api.serve import serve as serve
    from opsin.api.train import train as train
    from opsin.api.verify import verify as verify
    from opsin.core.errors import OpsinError as OpsinError

_PUBLIC = {
    "OpsinError": "opsin.core.errors:OpsinError",
    "augment": "opsin.api.augment:augment",
    "cache": "opsin.api.cache:cache",
    "check": "opsin.api.check:check",
    "doctor": "opsin.api.doctor:doctor",
    "evaluate": "opsin.api.evaluate:evaluate",
    "export": "opsin.api.export:export",
    "find": "opsin.api.find:find",
    "predict": "opsin.api.predict:predict",
    "resume": "opsin.api.resume:resume",
    "serve": "opsin.api.serve:serve",
    "train": "opsin.api.train:train",
    "verify": "opsin.api.verify:verify",
}

__all__ = [
    "OpsinError",
    "augment",
    "cache",
    "check",
    "doctor",
    "evaluate",
    "export",
    "find",
    "predict",
    "resume",
    "serve",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from opsin.core.version import version

        return version()
    if name not in _PUBLIC:
        raise AttributeError(f"module 'opsin' has no attribute {name!r}")
    import importlib

    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
