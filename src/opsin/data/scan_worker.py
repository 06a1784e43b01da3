"""What the scan's child process does with one file: read, hash, decode, prepare."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsin.core.allocator import hold_memory
from opsin.core.files import sha256_bytes
from opsin.core.isolated import report_stage
from opsin.core.preprocess import PreprocessSpec
from opsin.data.decode import Limits, Undecodable, decode, read_picture

Reply = tuple[dict[str, Any], bytes]


def factory(config: dict[str, Any]) -> Callable[[dict[str, Any], bytes], Reply]:
    """`config`: `limits` (the fields of `Limits`), `spec` (a `PreprocessSpec` as JSON) or None, by
    which pictures are decoded, and `prepare` (else True): whether they are prepared by it, too.

    The function takes `{"path": ...}` and answers the measured fields of a `FileRecord`; if it
    prepares, also the prepared picture: its `shape`, and its uint8 H W 3 bytes as the payload.
    """
    hold_memory()  # a quarter off each picture at 224 px: the pages of the last one are used again
    limits = Limits(**config["limits"])
    spec = PreprocessSpec.model_validate(config["spec"]) if config["spec"] else None
    prepares = config.get("prepare", True)

    def look_at(header: dict[str, Any], payload: bytes) -> Reply:
        report_stage("read")
        path = Path(header["path"])
        try:
            data = read_picture(path)
        except Undecodable as error:
            return {"error": error.code, "error_message": error.message}, b""
        fields: dict[str, Any] = {"sha256": sha256_bytes(data)}
        report_stage("decode")
        try:
            picture = decode(data, name=str(path), limits=limits, spec=spec)
        except Undecodable as error:
            return fields | {"error": error.code, "error_message": error.message}, b""
        height, width = picture.size_px
        fields |= {
            "pixel_sha256": sha256_pixels(picture.image),
            "width_px": width,
            "height_px": height,
            "format": picture.format,
            "mode": picture.mode,
            "notes": [{"code": note.code, "message": note.message} for note in picture.notes],
        }
        if spec is None or not prepares:
            return fields, b""
        report_stage("prepare")
        prepared = spec.prepare(picture.image)
        return fields | {"shape": list(prepared.shape)}, prepared.tobytes()

    return look_at


def sha256_pixels(image: NDArray[np.uint8]) -> str:
    """Hex SHA-256 of the shape and the pixels: the same for a PNG and the BMP made from it.

    >>> flat = np.zeros((2, 8, 3), np.uint8)
    >>> sha256_pixels(flat) == sha256_pixels(flat.reshape(8, 2, 3))
    False
    """
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
