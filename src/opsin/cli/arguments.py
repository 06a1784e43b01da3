"""`epochs=5`, as Ultralytics' users type it, means `--epochs 5`; `data=photos` means `photos`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
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
        for name in [*parameter.opts, *parameter.secondary_opts]
    }
    arguments = [p.name for p in command.params if isinstance(p, TyperArgument)]
    result: list[str] = []
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
            dashed = [f"--{match[1].replace('_', '-')}", match[2]]
            result += _flag(option, match[1], match[2]) if option.is_flag else dashed
        elif match and near(match[1], [*options, *arguments]):
            raise unknown("setting", match[1], [*arguments, *options])
        elif word.startswith("-") and word != "-":
            result.append(word)
            typed = options.get(word.lstrip("-").replace("-", "_"))
            if typed and not typed.is_flag:
                result += [value for value in [next(rest, None)] if value is not None]
        else:
            bare.append(word)
    for name in arguments:  # in their order, those that were not named from what is left
        bare_one = bare[:1] if name not in named else []
        ...
    return [*result, "--", *bare]


def _flag(option: TyperOption, name: str, value: str) -> list[str]:
    if value.lower() in _YES:
        return [option.opts[0]]
    if value.lower() in _NO:
        return option.secondary_opts[:1]
    raise typer.BadParameter(f"{value!r} is neither true nor false", param_hint=name)
