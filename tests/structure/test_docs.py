"""The documents speak of the tree as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
SRC = REPO / "src" / "opsin"
MAP = (REPO / "docs" / "map.md").read_text(encoding="utf-8")
CONTRIBUTING = (REPO / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (REPO / "Makefile").read_text(encoding="utf-8")


def test_the_map_shows_every_room_and_no_other() -> None:
    shown = set(re.findall(r"^[├└]── (\w+)/", MAP, re.MULTILINE))
    assert shown == {path.parent.name for path in SRC.glob("*/__init__.py")}


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:\w+/)+\w*(?:\.py)?)`", MAP))))
def test_the_map_names_what_is_there(path: str) -> None:
    assert (SRC / path).exists(), path


@pytest.mark.parametrize("text", [MAP, CONTRIBUTING], ids=["map", "contributing"])
def test_registries_named_are_there(text: str) -> None:
    for path in re.findall(r"`((?:\w+/)+registry\.py)`", text):
        assert (SRC / path).is_file(), path


def test_contributing_names_every_registry() -> None:
    for path in SRC.rglob("registry.py"):
        if path.parent.name != "core":
            assert f"`{path.relative_to(SRC).as_posix()}`" in CONTRIBUTING


def test_every_target_that_is_typed_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    texts = [path.read_text(encoding="utf-8") for path in REPO.glob("*.md")]
    typed = {name for text in texts for name in re.findall(r"(?:^\$ |`)make ([a-z]+)", text, re.M)}
    assert typed >= {"demo", "test", "check", "install"}
    assert typed <= targets


def test_links_lead_somewhere() -> None:
    for document in [*REPO.glob("*.md"), *REPO.glob("docs/*.md"), *REPO.glob("benchmarks/*.md")]:
        text = document.read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!\w+://)([^)#]+)\)", text):
            assert (document.parent / link).exists(), f"{document.name}: {link}"
