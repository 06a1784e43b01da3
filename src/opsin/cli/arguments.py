"""`epochs=5`, as Ultralytics' users type it, means `--epochs 5`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperOption

_PAIR = re.compile(r"^([a-z][a-z0-9_]*)=(.*)$", re.DOTALL)
_YES, _NO = {"true", "yes", "1"}, {"false", "no", "0"}


def with_dashes(command: Any, words: Sequence[str]) -> list[str]:
    """`key=value` words whose key is an option of `command`, in the form with dashes."""
    options = {
        name.lstrip("-").replace("-", "_"): parameter
        for parameter in command.params
        if isinstance(parameter, TyperOption)
        for name in [*parameter.opts, *parameter.secondary_opts]
    }
    result: list[str] = []
    for word in words:
        match = _PAIR.match(word)
        option = options.get(match[1]) if match else None
        if match is None or option is None:
            result.append(word)
        elif option.is_flag:
            result += _flag(option, match[1], match[2])
        else:
            result += [f"--{match[1].replace('_', '-')}", match[2]]
    return result


def _flag(option: TyperOption, name: str, value: str) -> list[str]:
    if value.lower() in _YES:
        return [option.opts[0]]
    if value.lower() in _NO:
        return option.secondary_opts[:1]
    raise typer.BadParameter(f"{value!r} is neither true nor false", param_hint=name)
