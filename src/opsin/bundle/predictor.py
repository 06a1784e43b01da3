"""Pictures in, probabilities out, by onnxruntime. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsin.bundle.load import Bundle
from opsin.bundle.session import open_session, pictures_at_once
from opsin.core.errors import ModelRefused, NumbersWrong

ANSWER = "probabilities"


class Predictor:
    """The model of a bundle, ready to be asked.

    `threads`: of onnxruntime; 0 for every core that is ours. Raises `ModelRefused` when the graph
    cannot be loaded, or does not take and give what `probabilities` says.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 0) -> None:
        try:
            self._session = open_session(bundle.graph.read_bytes(), threads=threads)
        except Exception as error:  # onnxruntime's own classes have no common public base
            raise _refused(bundle, f"onnxruntime cannot load the graph: {_brief(error)}") from error
        self.bundle = bundle
        self._at_once = pictures_at_once(bundle.spec.prepared_px)
        self._input = _input_name(self._session, bundle)
        _check_output(self._session, bundle)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 B 3 H W, RGB, any H and W, to float32 B K, each row summing to 1. Asked in parts
        of `pictures_at_once`.

        Raises `NumbersWrong` (code `model_output_invalid`) when the graph answers NaN or Inf,
        `ModelRefused` when onnxruntime cannot run it on such pictures.
        """
        parts = [
            self._ask(images[start : start + self._at_once])
            for start in range(0, max(1, len(images)), self._at_once)
        ]
        result = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if not np.isfinite(result).all():
            raise NumbersWrong("the model answered NaN or Inf", code="model_output_invalid")
        return result

    def _ask(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            (output,) = self._session.run([ANSWER], {self._input: images})
        except MemoryError:
            raise
        except Exception as error:
            raise _refused(self.bundle, f"the graph does not run: {_brief(error)}") from error
        result = np.asarray(output, np.float32)
        if result.shape != (len(images), len(self.bundle.classes)):
            raise _refused(self.bundle, f"it answered {result.shape} to {images.shape}")
        return result


def as_chw(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures of one size, uint8 H W 3, to one uint8 B 3 H W."""
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))


def _input_name(session: Any, bundle: Bundle) -> str:
    inputs = session.get_inputs()
    if len(inputs) == 1 and inputs[0].type == "tensor(uint8)" and len(inputs[0].shape) == 4:
        return str(inputs[0].name)
    found = ", ".join(f"{one.name}: {one.type} {one.shape}" for one in inputs)
    raise _refused(bundle, f"its input must be tensor(uint8) [B, 3, H, W], and is {found}")


def _check_output(session: Any, bundle: Bundle) -> None:
    wanted = f"{ANSWER}: tensor(float) [B, {len(bundle.classes)}]"
    outputs = session.get_outputs()
    for one in outputs:
        fits = len(one.shape) == 2 and one.shape[1] == len(bundle.classes)
        if one.name == ANSWER and one.type == "tensor(float)" and fits:
            return
    found = ", ".join(f"{one.name}: {one.type} {one.shape}" for one in outputs)
    raise _refused(bundle, f"it must have an output {wanted}, and has {found}")


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _refused(bundle: Bundle, why: str) -> ModelRefused:
    return ModelRefused(
        why, code="graph_refused", where=str(bundle.graph), fix="export the bundle anew"
    )
