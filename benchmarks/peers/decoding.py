"""Decode and resize as people do by Pillow, torchvision or OpenCV, on one core.

python decoding.py pillow|torchvision|opencv FILES.txt SIZE PIXELS.npy
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


def by_pillow(size: int) -> Callable[[str], np.ndarray]:
    from PIL import Image

    def one(path: str) -> np.ndarray:
        picture = Image.open(path).convert("RGB")
        return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))

    return one


def by_torchvision(size: int) -> Callable[[str], np.ndarray]:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms.v2 import functional

    torch.set_num_threads(1)

    def one(path: str) -> np.ndarray:
        picture = decode_jpeg(read_file(path), mode=ImageReadMode.RGB)
        resized = functional.resize(picture, [size, size], antialias=True)
        return resized.permute(1, 2, 0).numpy()

    return one


def by_opencv(size: int) -> Callable[[str], np.ndarray]:
    import cv2

    cv2.setNumThreads(1)

    def one(path: str) -> np.ndarray:
        picture = cv2.cvtColor(cv2.imread(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)

    return one


def main() -> None:
    way, listed, size, pixels = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    one = {"pillow": by_pillow, "torchvision": by_torchvision, "opencv": by_opencv}[way](size)
    files = Path(listed).read_text("utf-8").split("\n")
    one(files[0])
    started = time.perf_counter()
    made = [one(path) for path in files]
    seconds = time.perf_counter() - started
    np.save(pixels, np.stack(made))
    print(json.dumps({"per_s": len(files) / seconds}))


if __name__ == "__main__":
    main()
