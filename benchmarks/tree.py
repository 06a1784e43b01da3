"""The pictures of a run's own split, as folders that every library reads."""

from __future__ import annotations

import csv
import json
from pathlib import Path

_SUFFIX = {"JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp", "GIF": ".gif", "WebP": ".webp"}


def link_split(run: Path, data: Path, tree: Path) -> Path:
    """`tree`/SPLIT/CLASS/NAME: links to the pictures that the run took for each split, under the
    ending of what they are. Libraries that read folders then see the very same pictures.
    """
    splits = json.loads((run / "split.json").read_text("utf-8"))["splits"]
    with (run / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    for split in ("train", "val", "test"):
        for number, path in enumerate(splits[split]):
            row = rows[path]
            name = f"{number:06d}{_SUFFIX[row['format']]}"
            link = tree / split / row["class"] / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((data / path).resolve())
    return tree
