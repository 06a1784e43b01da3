"""Decode and prepare as opsin's loader and server do, on one core; run by `rows/decoding.py`.

python our_decoding.py GAP FILES.txt SIZE PIXELS.npy     GAP 0: full decodes
python our_decoding.py compare A.npy B.npy               largest, mean difference
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from opsin.core.allocator import hold_memory
from opsin.core.preprocess import PreprocessSpec
from opsin.data.decode import decode, read_picture


def main() -> None:
    """Measure, or compare."""
    if sys.argv[1] == "compare":
        first, second = (np.load(path).astype(np.int16) for path in sys.argv[2:4])
        difference = np.abs(first - second)
        print(f"{difference.max()}, {difference.mean():.2f}")
        return
    gap, listed, size, pixels = float(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    hold_memory()  # as the processes that decode do
    named: dict[str, Any] = {"jpeg_gap": gap} if gap else {}
    spec = PreprocessSpec(size_px=(size, size), **named)
    how: dict[str, Any] = {"spec": spec} if gap else {}

    def one(path: str) -> np.ndarray:
        return spec.prepare(decode(read_picture(Path(path)), name=path, **how).image)

    files = Path(listed).read_text("utf-8").split("\n")
    one(files[0])
    started = time.perf_counter()
    made = [one(path) for path in files]
    seconds = time.perf_counter() - started
    np.save(pixels, np.stack(made))
    print(json.dumps({"per_s": len(files) / seconds}))


if __name__ == "__main__":
    main()
