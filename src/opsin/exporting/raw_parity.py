"""Does the exported graph resize as Pillow does?

What is asked elsewhere is prepared already, and passes the graph's own resize unchanged. Here the
graph gets pictures of other sizes. Its answers cannot tell by themselves: one model answers a
rounded level differently by .47, another hardly minds a resize without anti-aliasing. So the
prepared picture inside the graph is looked at, in grey levels, and the answer is compared with
the model's for that very picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from opsin.bundle.predictor import Predictor, as_chw
from opsin.bundle.session import open_session
from opsin.core.errors import NumbersWrong
from opsin.core.extras import require
from opsin.exporting.parity import LIMIT, torch_answers
from opsin.exporting.preprocess_graph import INPUT, PREFIX, PREPARED
from opsin.tasks.task import Task

LEVELS = 2
"""One for each of the two passes, where Pillow and onnxruntime round a tie differently. Measured
on the golden pictures: 0 or 1 with 228 of 240 specs, 2 with 12; when the resize is broken (nearest,
without anti-aliasing or `exclude_outside`, other coordinates, bicubic for bilinear), 6 to 150."""


def check_raw_parity(
    predictor: Predictor,
    model: nn.Module,
    task: Task,
    pictures: Mapping[str, NDArray[np.uint8]],
) -> dict[str, Any]:
    """Give the graph `pictures` (name: uint8 H W 3 of any size) as they are.

    Raises `NumbersWrong` (code `parity`) when its resize is more than `LEVELS` off, or its answer
    more than `parity.LIMIT`. Returns what was measured; `raw_answer_shift` is what the rounded
    levels mean to this model: the largest difference from its answer for Pillow's own picture.
    """
    spec = predictor.bundle.spec
    inside = _Inside(predictor)
    levels, largest, shift = 0, 0.0, 0.0
    for name, picture in pictures.items():
        pillows = as_chw([spec.prepare(picture)])
        prepared = inside.prepared(picture)
        if prepared.shape != pillows.shape:
            raise _wrong(f"{prepared.shape[2:]} pixels instead of {pillows.shape[2:]}", name)
        off = int(np.abs(prepared.astype(np.int16) - pillows).max())
        if off > LEVELS:
            raise _wrong(f"{off} grey levels off (limit {LEVELS})", name)
        answer = predictor.probabilities(as_chw([picture]))
        difference = float(np.abs(answer - torch_answers(model, task, spec, prepared)).max())
        if difference > LIMIT:
            raise _wrong(f"its answer {difference:.2g} off (limit {LIMIT:g})", name)
        levels, largest = max(levels, off), max(largest, difference)
        shift = max(shift, float(np.abs(answer - torch_answers(model, task, spec, pillows)).max()))
    return {
        "raw_pictures": len(pictures),
        "raw_max_levels": levels,
        "raw_limit_levels": LEVELS,
        "raw_max_difference": largest,
        "raw_answer_shift": shift,
    }


class _Inside:
    """The graph as published, with its prepared picture as an output."""

    def __init__(self, predictor: Predictor) -> None:

        onnx = require("onnx", purpose="export to ONNX")
        graph = onnx.load_model_from_string(predictor.bundle.graph.read_bytes())
        self._name = PREFIX + PREPARED
        shape = [None, 3, None, None]
        output = onnx.helper.make_tensor_value_info(self._name, onnx.TensorProto.UINT8, shape)
        graph.graph.output.append(output)
        self._session = open_session(graph.SerializeToString())

    def prepared(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 1 3 H W of `prepared_px`."""
        (output,) = self._session.run([self._name], {INPUT: as_chw([picture])})
        return np.asarray(output, np.uint8)


def _wrong(how: str, name: str) -> NumbersWrong:
    return NumbersWrong(
        f"the exported graph does not resize as it must: {how} on {name}",
        code="parity",
        fix="nothing was published; report the preparation with this message",
    )
