"""Pictures in, probabilities out, by onnxruntime. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opsin.bundle.load import Bundle
from opsin.core.errors import ModelRefused, NumbersWrong
from opsin.core.prediction import ClassPrediction
from opsin.data.decode import Decoded, Limits, decode, decode_file


class Predictor:
    """The model of a bundle, ready to be asked.

    `threads`: of onnxruntime; 0 lets it take every core.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                bundle.graph.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own classes have no common public base
            raise ModelRefused(
                f"onnxruntime cannot load the graph: {str(error).splitlines()[0][:300]}",
                code="graph_refused",
                where=str(bundle.graph),
            ) from error
        self.bundle = bundle
        self._input = self._session.get_inputs()[0].name

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 B 3 H W, RGB, any H and W, to float32 B K, each row summing to 1.

        Raises `NumbersWrong` (code `model_output_invalid`) when the graph answers NaN or Inf.
        """
        (output,) = self._session.run(["probabilities"], {self._input: images})
        result = np.asarray(output, np.float32)
        if not np.isfinite(result).all():
            raise NumbersWrong("the model answered NaN or Inf", code="model_output_invalid")
        return result

    def predict(self, source_id: str, decoded: Decoded) -> ClassPrediction:
        """The prediction for one decoded picture."""
        return next(iter(self.predict_many([(source_id, decoded)])))

    def predict_bytes(
        self, data: bytes, *, name: str = "", limits: Limits | None = None
    ) -> ClassPrediction:
        """The prediction for the bytes of a picture file. Raises `Undecodable`."""
        return self.predict(name, decode(data, name=name, limits=limits or Limits()))

    def predict_file(self, path: Path, *, limits: Limits | None = None) -> ClassPrediction:
        """The prediction for a picture file. Raises `Undecodable`."""
        return self.predict(str(path), decode_file(path, limits=limits or Limits()))

    def predict_many(
        self, pictures: Iterable[tuple[str, Decoded]], *, batch_size: int = 32
    ) -> Iterator[ClassPrediction]:
        """Predictions for (source id, decoded picture), in order, batch by batch."""
        feed = iter(pictures)
        while batch := list(islice(feed, batch_size)):
            prepared = [self.bundle.spec.prepare(decoded.image) for _, decoded in batch]
            rows = self.probabilities(as_chw(prepared))
            for (source_id, decoded), row in zip(batch, rows, strict=True):
                yield ClassPrediction(
                    source_id,
                    self.bundle.classes,
                    tuple(float(value) for value in row),
                    tuple(note.message for note in decoded.notes),
                )


def as_chw(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures of one size, uint8 H W 3, to one uint8 B 3 H W."""
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
