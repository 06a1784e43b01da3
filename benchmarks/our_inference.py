"""Latency and throughput of a bundle: python our_inference.py BUNDLE COUNT."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from opsin.bundle.load import load_bundle
from opsin.bundle.predictor import Predictor


def main() -> None:
    """Measure."""
    predictor = Predictor(load_bundle(Path(sys.argv[1])))
    count, side = int(sys.argv[2]), predictor.bundle.spec.prepared_px[0]
    draw = np.random.default_rng(0)
    found = {}
    for name, size, repeats in (("one", 1, count), ("batch", 32, max(3, count // 10))):
        images = draw.integers(0, 256, (size, 3, side, side), np.uint8)
        seconds = []
        for _ in range(repeats + 2):
            started = time.perf_counter()
            predictor.probabilities(images)
            seconds.append(time.perf_counter() - started)
        found[name] = statistics.median(seconds[2:])
    print(json.dumps({"one_ms": found["one"] * 1e3, "batch_per_s": 32 / found["batch"]}))


if __name__ == "__main__":
    main()
