"""An error of a child process as a JSON object, and back."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

from opsin.core.errors import OpsinError


def error_to(error: BaseException) -> dict[str, Any]:
    """The frame header for an error: all fields of an `OpsinError`, class and text of another.

    >>> error_to(KeyError("a"))
    {'kind': 'error', 'class': 'KeyError', 'message': "'a'"}
    """
    if isinstance(error, OpsinError):
        return {
            "kind": "error",
            "class": f"{type(error).__module__}:{type(error).__qualname__}",
            "message": error.message,
            "code": error.code,
            "where": error.where,
            "fix": error.fix,
            "exit_code": error.exit_code,
        }
    return {"kind": "error", "class": type(error).__qualname__, "message": str(error)}


def error_from(header: dict[str, Any]) -> OpsinError | None:
    """The `OpsinError` that `error_to` described, of its own class; None for any other error.

    Only classes of Opsin are looked up, whatever the frame says.

    >>> from opsin.core.errors import DataRefused
    >>> error_from(error_to(DataRefused("no pictures", code="empty_folder")))
    DataRefused('no pictures')
    """
    if "code" not in header:
        return None
    message = str(header.get("message"))
    module, _, attribute = str(header.get("class")).partition(":")
    kind: type[OpsinError] = OpsinError
    if module.startswith("opsin."):
        with contextlib.suppress(ImportError, AttributeError):
            found = getattr(importlib.import_module(module), attribute)
            if isinstance(found, type) and issubclass(found, OpsinError):
                kind = found
    words = {key: str(header.get(key, "")) for key in ("code", "where", "fix")}
    try:
        error = kind(message, **words)
    except TypeError:  # a class whose constructor takes other things
        error = OpsinError(message, **words)
    error.exit_code = int(header.get("exit_code", error.exit_code))
    return error
