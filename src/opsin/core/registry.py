"""Names that stand for code: one line a name, nothing imported until the name is used."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from opsin.core.errors import WrongUsage


def near(word: str, words: list[str]) -> list[str]:
    """The up to three nearest of `words`.

    >>> near("tinyvg", ["lenet", "tinyvgg"])
    ['tinyvgg']
    """
    return difflib.get_close_matches(word, words, n=3, cutoff=0.5)


def unknown(kind: str, word: str, words: list[str]) -> WrongUsage:
    """The error for a name that is not in the list: nearest matches first, then all."""
    matches = near(word, words)
    meant = f'; did you mean "{matches[0]}"?' if matches else "."
    shown = words if len(words) <= 20 else matches
    allowed = f" Allowed: {', '.join(shown)}" if shown else ""
    more = f" and {len(words) - len(shown)} more" if len(shown) < len(words) else ""
    return WrongUsage(
        f'unknown {kind} "{word}"{meant}{allowed}{more}',
        code=f"unknown_{kind.replace(' ', '_')}",
    )


class Registry(Mapping[str, str]):
    """A closed list `name -> "module:attribute"`, refused when a name stands twice.

    >>> Registry("shape", [("dict", "builtins:dict")]).load("dict")
    <class 'dict'>
    """

    def __init__(self, kind: str, entries: list[tuple[str, str]]) -> None:
        self.kind = kind
        self._targets: dict[str, str] = {}
        for name, target in entries:
            if name in self._targets:
                raise ValueError(f'the {kind} "{name}" is registered twice')
            self._targets[name] = target

    def __getitem__(self, name: str) -> str:
        return self._targets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)

    def load(self, name: str) -> Any:
        """The object behind `name`. Raises `WrongUsage` with near matches for another name."""
        if name not in self._targets:
            raise unknown(self.kind, name, list(self))
        module, _, attribute = self._targets[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
