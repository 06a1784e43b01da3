"""The options of `opsin train`, made from the fields of `TrainConfig`: one list of settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

from opsin.core.config import TrainConfig

ALIASES = {
    "batch_size": ["--batch"],
    "image_size": ["--imgsz"],
    "lr": ["--lr0"],
    "workers": ["--num-workers"],
}
POSITIONAL = ("data",)


def setting_parameters() -> list[inspect.Parameter]:
    """A keyword for each setting; None means that it was not given."""
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=_annotation(name, field.annotation, field.description or "", field.default),
        )
        for name, field in TrainConfig.model_fields.items()
        if name not in POSITIONAL
    ]


def takes_settings(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give `function(..., **settings)` the signature that Typer needs to see."""
    signature = inspect.signature(function, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    function.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*own, *setting_parameters()]
    )
    return function


def _annotation(name: str, annotation: Any, text: str, default: Any) -> Any:
    kind = annotation
    if get_origin(annotation) in (Union, UnionType):
        kind = next(part for part in get_args(annotation) if part is not type(None))
    if get_origin(kind) in (Annotated, tuple):  # a time, or names with commas between them
        kind = str
    shape: dict[str, Any] = {}
    if get_origin(kind) is Literal:  # judged with all the other settings, with near matches
        shape, kind = {"metavar": "|".join(get_args(kind))}, str
    word = name.replace("_", "-")
    shown = "" if default in (None, ()) else f" [{_plain(default)}]"
    if kind is bool:
        names = [f"--{word}/--no-{word}"]
    else:
        names = [f"--{word}", *ALIASES.get(name, [])]
    option = typer.Option(*names, help=text + shown, show_default=False, **shape)
    return Annotated[kind | None, option]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, Path) else f"{value}"
