"""The bundle's manifest: what is inside, from what data, and the SHA-256 of every file.

Its hashes find damage. They do not prove who made the bundle.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 1
MANIFEST = "manifest.json"
GRAPH = "model.onnx"
WEIGHTS = "model.safetensors"
PREPROCESS = "preprocess.json"
LABELS = "labels.json"
GOLDEN = "golden/golden.json"


class FileEntry(BaseModel):
    """One file of the bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)


class ModelEntry(BaseModel):
    """How to build the module that `model.safetensors` fits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    options: dict[str, Any] = {}
    num_outputs: int = Field(ge=1)
    parameters: int = Field(ge=0)


class Manifest(BaseModel):
    """`manifest.json`. `data_hash` is the SHA-256 of the training run's manifest.csv, empty for a
    model that was not trained here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    task: str
    opsin: str
    created: str
    model: ModelEntry
    data_hash: str = ""
    split_hash: str = ""
    source: str = ""
    parity: dict[str, Any] = {}
    files: dict[str, FileEntry]


class GoldenSample(BaseModel):
    """A picture in the bundle and the probabilities it must give, within `tolerance`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    probabilities: tuple[float, ...]
    tolerance: float = Field(gt=0)
