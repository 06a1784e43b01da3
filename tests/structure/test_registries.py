"""What is registered is tested from that moment on: every name of every registry."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from opsin.core.errors import WrongUsage
from opsin.core.registry import Registry

REPO = Path(__file__).parents[2]
SRC = REPO / "src"
FILES = [path for path in sorted(SRC.rglob("registry.py")) if path.parent.name != "core"]
NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")


def registries() -> list[tuple[str, Registry]]:
    """Every registry in a file called registry.py, with the place it stands."""
    found = []
    for path in FILES:
        module = importlib.import_module(".".join(path.relative_to(SRC).with_suffix("").parts))
        found += [
            (f"{module.__name__}.{name}", value)
            for name, value in vars(module).items()
            if isinstance(value, Registry)
        ]
    return found


REGISTRIES = registries()
ENTRIES = [
    pytest.param(registry, name, id=f"{registry.kind}-{name}")
    for _, registry in REGISTRIES
    for name in registry
]


def test_registries_were_found() -> None:
    assert {registry.kind for _, registry in REGISTRIES} >= {"model", "task"}
    assert all(len(registry) for _, registry in REGISTRIES)
    kinds = [registry.kind for _, registry in REGISTRIES]
    assert len(kinds) == len(set(kinds)), "two registries of one kind"


def test_a_file_called_registry_holds_one() -> None:
    for path in FILES:
        module = ".".join(path.relative_to(SRC).with_suffix("").parts)
        assert any(place.startswith(f"{module}.") for place, _ in REGISTRIES), module


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_entry(registry: Registry, name: str) -> None:
    assert NAME.fullmatch(name), f"{name}: lower case, digits, _ or - between words"
    module, _, attribute = registry[name].partition(":")
    assert attribute.isidentifier(), f'"{registry[name]}" is not "module:attribute"'
    assert module.startswith("opsin.")
    target = registry.load(name)
    if callable(target):
        assert target.__module__ == module, "registered from the file that does not define it"
    assert inspect.getdoc(target), f"{registry[name]} has no docstring"


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_the_changelog_names_it(registry: Registry, name: str) -> None:
    """A new entry touches three files, and the changelog is where people find it."""
    changelog = (REPO / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"`{name}`" in changelog, f"CHANGELOG.md does not name the {registry.kind} `{name}`"


@pytest.mark.parametrize(
    "registry", [pytest.param(registry, id=place) for place, registry in REGISTRIES]
)
def test_another_name_is_answered_with_near_matches(registry: Registry) -> None:
    name = next(iter(registry))
    with pytest.raises(WrongUsage) as caught:
        registry.load(f"{name}x")
    assert 'did you mean "' in caught.value.message
    assert name in caught.value.message
