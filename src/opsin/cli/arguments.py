"""`epochs=5`, as Ultralytics' users type it, means `--epochs 5`; `data=photos` means `photos`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import typer
from typer.core import TyperArgument, TyperOption

from opsin.core.registry import near, unknown

_PAIR = re.compile(r"^([a-z][a-z0-9_]*)=(.*)$", re.DOTALL)
_YES, _NO = {"true", "yes", "1"}, {"false", "no", "0"}


def with_dashes(command: Any, words: Sequence[str]) -> list[str]:
    """`key=value` words whose key is an option or argument of `command`, as the others type them.

    A word that names a file is that file, and what stands behind `--` is left as it is. Raises
    `WrongUsage` for a key that is nearly one of the command's.
    """
    options = {
        name.lstrip("-").replace("-", "_"): parameter
        for parameter in command.params
        if isinstance(parameter, TyperOption)
        for name in parameter.opts
    }
    arguments = {p.name: p for p in command.params if isinstance(p, TyperArgument)}
    dashed: list[str] = []
    bare: list[str] = []
    named: dict[str, list[str]] = {}
    rest = iter(words)
    for word in rest:
        match = None if os.path.lexists(word) else _PAIR.match(word)
        if word == "--":
            bare += rest
        elif match and match[1] in arguments:
            named.setdefault(match[1], []).append(match[2])
        elif match and match[1] in options:
            option = options[match[1]]
            given = _flag if option.is_flag else _valued
            dashed += given(option, match[1], match[2])
        elif match and near(match[1], [*options, *arguments]):
            raise unknown("setting", match[1], [*arguments, *options])
        elif word.startswith("-") and word != "-":
            dashed.append(word)
            typed = options.get(word.lstrip("-").replace("-", "_"))
            if typed and not typed.is_flag:
                dashed += islice(rest, 1)
        else:
            bare.append(word)
    return [*dashed, "--", *_in_order(arguments, bare, named)]


def _in_order(
    arguments: Mapping[str, TyperArgument], bare: list[str], named: Mapping[str, list[str]]
) -> list[str]:
    """The arguments as the command declares them: those named, between them the bare words."""
    result: list[str] = []
    for at, name in enumerate(arguments):
        if name in named:
            result += named[name]
        elif bare:
            count = len(bare) if arguments[name].nargs == -1 else 1
            result += bare[:count]
            bare = bare[count:]
        elif any(later in named for later in [*arguments][at + 1 :]):
            raise typer.BadParameter("is missing", param_hint=name)
    return result + bare


def _valued(option: TyperOption, name: str, value: str) -> list[str]:
    return [option.opts[0], value]


def _flag(option: TyperOption, name: str, value: str) -> list[str]:
    if value.lower() in _YES:
        return [option.opts[0]]
    if value.lower() in _NO:
        return option.secondary_opts[:1]
    raise typer.BadParameter(f"{value!r} is neither true nor false", param_hint=name)
