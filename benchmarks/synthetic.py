"""Folders of small pictures that are all different, in balanced classes. Written by opsin's Python.

python synthetic.py FOLDER PICTURES CLASSES SIDE
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from processes import PYTHON, run


def write(folder: Path, pictures: int, classes: int, side: int) -> Path:
    """`folder`, filled in a process of its own. Raises `Failed`."""
    sizes = map(str, (pictures, classes, side))
    run([*PYTHON, str(Path(__file__).resolve()), str(folder), *sizes])
    return folder


def main() -> None:
    """JPEGs of smooth noise: class k is brighter in channel k % 3."""
    folder, pictures, classes, side = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    draw = np.random.default_rng(0)
    for number in range(pictures):
        kind = number % classes
        into = folder / f"class{kind:04d}"
        if number < classes:
            into.mkdir(parents=True)
        coarse = draw.integers(0, 200, (8, 8, 3), np.uint8)
        coarse[..., kind % 3] += 50
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BILINEAR).save(
            buffer, "JPEG", quality=90
        )
        (into / f"{number:07d}.jpg").write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main()
