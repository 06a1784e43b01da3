"""The record of how pictures for some weights are prepared; read without torch.

Weights without that record are a trap: with a wrong normalisation nothing fails, the model is
only worse. So the record beside the file (same name, `.json`) is required.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from opsin.core.errors import ModelRefused, WrongUsage
from opsin.core.magic import require_kind
from opsin.core.preprocess import Interpolation, PreprocessSpec, Resize

# What a record may say of the architecture. Everything else that timm's `create_model` takes
# could read a file, go to the network or change the head.
REFUSED_OPTIONS = ("cache_dir", "checkpoint_path", "features_only", "num_classes", "scriptable")


class WeightsRecord(BaseModel):
    """The JSON beside a weights file: architecture, preparation, and the labels of its own head."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    architecture: str
    input_size: tuple[int, int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation = "bilinear"
    crop_frac: float = Field(default=1.0, gt=0, le=1)
    resize: Resize = "crop"
    create_kwargs: dict[str, Any] = {}
    labels: tuple[str, ...] = ()

    @field_validator("create_kwargs")
    @classmethod
    def _of_the_architecture(cls, options: dict[str, Any]) -> dict[str, Any]:
        return safe_options(options)

    def preparation(
        self, image_size: int | None = None, resize: Resize | None = None
    ) -> PreprocessSpec:
        """The `PreprocessSpec` of this record, at another size or resize when they are given."""
        size = (image_size, image_size) if image_size else self.input_size[1:]
        return PreprocessSpec(
            size_px=size,
            resize=resize or self.resize,
            interpolation=self.interpolation,
            crop_frac=self.crop_frac,
            mean=self.mean,
            std=self.std,
        )


def safe_options(options: dict[str, Any]) -> dict[str, Any]:
    """`options` of an architecture as they are. Raises `ValueError` for one that is none.

    >>> safe_options({"pad_type": "same"})
    {'pad_type': 'same'}
    """
    for name, value in options.items():
        if name in REFUSED_OPTIONS or name.startswith("pretrained"):
            raise ValueError(f'the option "{name}" is not of the architecture')
        if not isinstance(value, str | int | float | bool | list | None):
            raise ValueError(f'the option "{name}" must be a plain value')
    return options


def read_record(weights: Path, record: Path | None = None) -> WeightsRecord:
    """The record of `weights`: `record`, or the JSON of the same name beside the file.

    Raises `WrongUsage` when the weights are not there, `ModelRefused` when they are not
    safetensors, have no record, or the record lacks a field or has an impossible value.
    """
    if not weights.is_file():
        raise WrongUsage("no such weights file", code="no_such_path", where=str(weights))
    require_kind(weights, "safetensors")
    path = record or weights.with_suffix(".json")
    if not path.is_file():
        raise ModelRefused(
            f"no record says how pictures for these weights are prepared ({path.name} is missing)",
            code="no_preparation",
            where=str(weights),
            fix=f"write {path.name} beside it with architecture, input_size, mean, std, "
            "interpolation and crop_frac, or name such a file with --weights-record",
        )
    try:
        found = WeightsRecord.model_validate(json.loads(path.read_bytes()))
        found.preparation()
    except ValidationError as error:
        fields = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        )
        raise ModelRefused(fields, code="bad_record", where=str(path)) from error
    except (ValueError, OSError) as error:
        raise ModelRefused(
            f"cannot be read as JSON ({error})", code="bad_record", where=str(path)
        ) from error
    return found
