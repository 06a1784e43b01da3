"""Put weights from a safetensors file into a module, or say what does not fit."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from opsin.core.errors import ModelRefused
from opsin.core.magic import require_kind
from opsin.core.registry import near
from opsin.models.timm_adapter import TimmClassifier


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file; anything else is refused before it is read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    require_kind(path, "safetensors")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ModelRefused(
            f"damaged safetensors file: {error}", code="damaged", where=str(path)
        ) from error


def load_weights(model: nn.Module, path: Path, *, keep_head: bool) -> int:
    """Put the weights in `path` into `model` and return how many tensors were used.

    Names may be ours (`backbone.…`, `head.…`) or timm's. `keep_head=False` leaves the model's own
    head as it is. Raises `ModelRefused`, saying which names differ and how many fitted.
    """
    tensors = read_tensors(path)
    if isinstance(model, TimmClassifier) and not any(k.startswith("backbone.") for k in tensors):
        tensors = {model.own_key(key): value for key, value in tensors.items()}
    wanted = model.state_dict()
    if not keep_head:
        tensors = {k: v for k, v in tensors.items() if not k.startswith("head.")}
        wanted = {k: v for k, v in wanted.items() if not k.startswith("head.")}
    # A counter that some formats leave out and that no result depends on.
    wanted = {k: v for k, v in wanted.items() if not k.endswith("num_batches_tracked")}
    missing = [key for key in wanted if key not in tensors]
    unknown = [k for k in tensors if k not in wanted and not k.endswith("num_batches_tracked")]
    shapes = [
        f"{key} is {list(tensors[key].shape)}, the model has {list(value.shape)}"
        for key, value in wanted.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    if missing or unknown or shapes:
        fitted = len(wanted) - len(missing) - len(shapes)
        raise ModelRefused(
            f"weights of another architecture: {fitted} of {len(wanted)} tensors fit"
            + _some("missing in the file", missing)
            + _some("not in the model", unknown)
            + _some("other shapes", shapes),
            code="other_architecture",
            where=str(path),
            fix=_meant(missing, unknown),
        )
    model.load_state_dict({key: tensors[key] for key in wanted}, strict=False)
    return len(wanted)


def _some(what: str, names: list[str]) -> str:
    if not names:
        return ""
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"; {what}: {', '.join(names[:3])}{rest}"


def _meant(missing: list[str], unknown: list[str]) -> str:
    renamed = [(key, near(key, unknown)) for key in missing[:1]]
    for key, matches in renamed:
        if matches:
            return f'choose the --model that the file was saved from ("{key}" is "{matches[0]}"?)'
    return "choose the --model that the file was saved from"
