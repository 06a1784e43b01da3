"""scikit-learn's 1,797 handwritten digits as a folder of pictures, the data of demo and tests."""

from __future__ import annotations

import io
import os
import secrets
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from opsin.core.errors import NoRoom
from opsin.core.extras import require

# The pictures come as 8 x 8 and are written as 32 x 32, so that a person can look at them.
ENLARGED = 4


def write_digits(folder: Path, per_class: int | None = None, planted_faults: bool = True) -> Path:
    """Write the digits into `folder`/0 ... `folder`/9 as grey PNG files and return `folder`.

    `per_class`: only the first so many of each digit. With `planted_faults` there are three things
    to be found: a truncated file in 3, a PNG named .jpg in 5, a picture of 1 that is also in 7.
    A folder that holds exactly these files is left alone; any other that holds something raises
    `NoRoom`, since nothing is overwritten.
    """
    if is_digits(folder, per_class, planted_faults):
        return folder
    if folder.exists() and any(folder.iterdir()):
        raise NoRoom(
            "already there and not the untouched digits; nothing is overwritten",
            code="exists",
            where=str(folder),
            fix="name a folder that does not exist yet",
        )
    # Written beside its place and renamed, so that a kill never leaves half a data set.
    stage = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.unfinished")
    try:
        for name, data in digit_files(per_class, planted_faults).items():
            path = stage / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        if folder.exists():
            folder.rmdir()
        stage.rename(folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return folder


def is_digits(folder: Path, per_class: int | None = None, planted_faults: bool = True) -> bool:
    """Whether `folder` holds exactly the files that `write_digits` would write, byte for byte."""
    if not folder.is_dir():
        return False
    expected = digit_files(per_class, planted_faults)
    found = {
        (Path(root) / name).relative_to(folder).as_posix()
        for root, _, names in os.walk(folder)
        for name in names
    }
    return found == set(expected) and all(
        (folder / name).read_bytes() == data for name, data in expected.items()
    )


def digit_files(per_class: int | None = None, planted_faults: bool = True) -> dict[str, bytes]:
    """Path inside the folder to the bytes of the file, the same in every call."""
    require("sklearn", purpose="writing the digits")
    from sklearn.datasets import load_digits

    files: dict[str, bytes] = {}
    seen: Counter[int] = Counter()
    digits = load_digits()
    for number, (grey, digit) in enumerate(zip(digits.images, digits.target.tolist(), strict=True)):
        seen[digit] += 1
        if per_class is not None and seen[digit] > per_class:
            continue
        # 0..16 in the source; a step of 15.9375 ends at 255.
        pixels = np.round(grey * (255 / 16)).astype(np.uint8)
        large = pixels.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
        buffer = io.BytesIO()
        Image.fromarray(large).save(buffer, "PNG")
        files[f"{digit}/digit-{number:04d}.png"] = buffer.getvalue()
    if planted_faults:
        _plant_faults(files)
    return files


def _plant_faults(files: dict[str, bytes]) -> None:
    def first(digit: str) -> str:
        return next(name for name in files if name.startswith(f"{digit}/"))

    truncated = first("3")
    files[truncated] = files[truncated][: len(files[truncated]) // 2]
    misnamed = first("5")
    files[misnamed.removesuffix(".png") + ".jpg"] = files.pop(misnamed)
    shared = first("1")
    files[shared.replace("1/", "7/", 1)] = files[shared]
