"""What runs in the isolated process: the checked bundle, the decoder and the model.

Asked in two steps, `decode` and `infer`, so that each has its own deadline, a client that has gone
costs no inference, and it is known which of the two a crash belongs to.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsin.bundle.load import load_bundle
from opsin.bundle.predictor import Predictor, as_chw
from opsin.bundle.verify import replay_golden
from opsin.core.errors import ModelRefused, OpsinError
from opsin.core.isolated import Function, report_stage
from opsin.data.decode import Limits, decode

Answer = tuple[dict[str, Any], bytes]


def factory(config: dict[str, Any]) -> Function:
    """`config`: bundle (folder), hash (expected, "" for any), threads, max_pixels."""
    return BundleWorker(
        Path(config["bundle"]),
        expected_hash=config["hash"],
        threads=config["threads"],
        limits=Limits(max_pixels=config["max_pixels"]),
    )


class BundleWorker:
    """A loaded, checked bundle that has just given its recorded answers.

    Raises `ModelRefused` or `NumbersWrong` when it cannot be had.
    """

    def __init__(self, path: Path, *, expected_hash: str, threads: int, limits: Limits) -> None:
        report_stage("load")
        bundle = load_bundle(path)
        if expected_hash and bundle.hash != expected_hash:
            raise ModelRefused("another bundle than the one in service", code="replaced")
        self._predictor = Predictor(bundle, threads=threads)
        report_stage("golden samples")
        self._replay = replay_golden(self._predictor)
        self._limits = limits
        self._image: NDArray[np.uint8] | None = None

    def __call__(self, header: dict[str, Any], payload: bytes) -> Answer:
        """Do one of `describe`, `decode` (payload: the picture's bytes), `infer` (what was last
        decoded).
        """
        step = header["do"]
        if step == "decode":
            return self._decode(payload, header["name"]), b""
        if step == "infer":
            return self._infer(), b""
        return self._describe(), b""

    def _describe(self) -> dict[str, Any]:
        bundle = self._predictor.bundle
        return {
            "name": bundle.manifest.model.name,
            "task": bundle.manifest.task,
            "parameters": bundle.manifest.model.parameters,
            "created": bundle.manifest.created,
            "classes": bundle.classes,
            "size_px": bundle.spec.size_px,
            "bundle_hash": bundle.hash,
            "golden_samples": self._replay.samples,
        }

    def _decode(self, data: bytes, name: str) -> dict[str, Any]:
        self._image = None
        report_stage("decode")
        start = time.perf_counter()
        spec = self._predictor.bundle.spec
        decoded = decode(data, name=name, limits=self._limits, spec=spec)
        self._image = decoded.image
        height, width = decoded.size_px
        return {
            "format": decoded.format,
            "width_px": width,
            "height_px": height,
            "notes": [[note.code, str(note)] for note in decoded.notes],
            "decode_ms": _since(start),
        }

    def _infer(self) -> dict[str, Any]:
        if self._image is None:  # the worker that decoded was lost, and this is its successor
            raise OpsinError("there is no decoded picture", code="worker_lost")
        report_stage("infer")
        start = time.perf_counter()
        prepared = as_chw([self._predictor.bundle.spec.prepare(self._image)])
        self._image = None
        prepare_ms = _since(start)
        start = time.perf_counter()
        row = self._predictor.probabilities(prepared)[0]
        return {
            "probabilities": row.tolist(),
            "prepare_ms": prepare_ms,
            "infer_ms": _since(start),
        }


def _since(start: float) -> float:
    return (time.perf_counter() - start) * 1000
