"""The bundle's manifest: what is inside, from what data, and the SHA-256 of every file.

Its hashes find damage. They do not prove who made the bundle.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from opsin.core.files import sha256_bytes

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
    """`manifest.json`.

    `data_hash` is `opsin.data.manifest.data_hash` of the training run: over path, SHA-256 and
    class of every file. `split_hash` is the SHA-256 of its split.json. Both are empty for a model
    that was not trained here. `parity`: what the comparison with the model measured. `checksum`
    covers the manifest itself.
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
    checksum: str = ""

    def seal(self) -> str:
        """SHA-256 of everything else in the manifest: what `checksum` must be."""
        rest = self.model_dump(exclude={"checksum"})
        return sha256_bytes(json.dumps(rest, sort_keys=True).encode())

    def sealed(self) -> Manifest:
        """The same with its `checksum`."""
        return self.model_copy(update={"checksum": self.seal()})


class GoldenSample(BaseModel):
    """A picture in the bundle and the answers it must give, by both ways into the graph.

    `probabilities`: after `PreprocessSpec.prepare`, as serving asks, within `tolerance`.
    `raw_probabilities`: given as it is, through the graph's own resize, within `raw_tolerance`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    probabilities: tuple[float, ...]
    tolerance: float = Field(gt=0)
    raw_probabilities: tuple[float, ...]
    raw_tolerance: float = Field(gt=0)
