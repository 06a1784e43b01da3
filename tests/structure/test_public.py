"""The public surface of the package is this list; a change here is a change for every user."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import opsin

PUBLIC = [
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


def test_the_public_list_is_pinned() -> None:
    assert sorted(opsin.__all__) == PUBLIC


def test_everything_public_is_there_documented_and_listed_by_dir() -> None:
    for name in opsin.__all__:
        target = getattr(opsin, name)
        assert inspect.getdoc(target), f"opsin.{name} has no docstring"
        assert name in dir(opsin)


def test_only_what_a_verb_is_about_goes_by_position() -> None:
    for name in opsin.__all__:
        target = getattr(opsin, name)
        if not inspect.isfunction(target):
            continue
        parameters = list(inspect.signature(target).parameters.values())
        by_position = [p for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        assert len(by_position) <= 2, f"opsin.{name}{inspect.signature(target)}"


def test_no_module_ever_hides_a_public_name() -> None:
    """Importing `opsin.x` sets the attribute `x` of the package, over whatever it stood for."""
    program = """
import importlib, pkgutil, types, opsin
for found in pkgutil.walk_packages(opsin.__path__, "opsin."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
print([name for name in opsin.__all__ if isinstance(getattr(opsin, name), types.ModuleType)])
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    module = importlib.import_module("opsin")
    assert not hasattr(module, "no_such_verb")
