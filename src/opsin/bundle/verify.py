"""Does the bundle still give the recorded answers, on this machine?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opsin.bundle.load import Bundle
from opsin.bundle.predictor import Predictor, as_chw
from opsin.core.errors import NumbersWrong
from opsin.data.decode import decode_file


@dataclass(frozen=True)
class Replay:
    """What the golden samples gave: their number and the largest difference of a probability."""

    samples: int
    max_difference: float


def replay_golden(predictor: Predictor) -> Replay:
    """Run every golden sample through decoder, preparation and graph, as serving does.

    Raises `NumbersWrong` naming the sample, the difference and the limit.
    """
    bundle = predictor.bundle
    largest = 0.0
    for sample in bundle.golden:
        image = decode_file(bundle.path / sample.file).image
        row = predictor.probabilities(as_chw([bundle.spec.prepare(image)]))[0]
        expected = np.asarray(sample.probabilities, np.float32)
        if row.shape != expected.shape:
            raise _differs(bundle, sample.file, f"{row.size} outputs, recorded {expected.size}")
        difference = float(np.abs(row - expected).max())
        if difference > sample.tolerance:
            raise _differs(
                bundle,
                sample.file,
                f"max difference {difference:.2g} (limit {sample.tolerance:g})",
            )
        largest = max(largest, difference)
    return Replay(len(bundle.golden), largest)


def _differs(bundle: Bundle, file: str, how: str) -> NumbersWrong:
    return NumbersWrong(
        f"golden sample {file} does not give the recorded answer: {how}",
        code="golden_mismatch",
        where=str(bundle.path),
        fix="export the bundle again on this kind of machine and compare",
    )
