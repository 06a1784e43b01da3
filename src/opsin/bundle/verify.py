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
    """Ask about every golden sample, both prepared as serving does it, and raw.

    Raises `NumbersWrong` naming the sample, the difference and the limit.
    """
    bundle = predictor.bundle
    largest = 0.0
    for sample in bundle.golden:
        image = decode_file(bundle.path / sample.file).image
        prepared = bundle.spec.prepare(image)
        for picture, expected, limit, how in (
            (prepared, sample.probabilities, sample.tolerance, "prepared"),
            (image, sample.raw_probabilities, sample.raw_tolerance, "raw, through its own resize"),
        ):
            row = predictor.probabilities(as_chw([picture]))[0]
            difference = float(np.abs(row - np.asarray(expected, np.float32)).max())
            if difference > limit:
                raise _differs(bundle, sample.file, how, difference, limit)
            largest = max(largest, difference)
    return Replay(len(bundle.golden), largest)


def _differs(bundle: Bundle, file: str, how: str, difference: float, limit: float) -> NumbersWrong:
    return NumbersWrong(
        f"golden sample {file} ({how}) does not give the recorded answer: "
        f"max difference {difference:.2g} (limit {limit:g})",
        code="golden_mismatch",
        where=str(bundle.path),
        fix="export the bundle again on this kind of machine and compare",
    )
