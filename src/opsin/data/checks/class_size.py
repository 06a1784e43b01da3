"""Classes with too few pictures to be split, and data with fewer than two classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from opsin.core.finding import Finding
from opsin.data.checks.scanned import ScannedData


def check(scanned: ScannedData) -> Iterator[Finding]:
    """`empty_class`, `one_class`, `too_few_images`.

    A class needs a picture for each split that has yet to be drawn from it, and one to train on.
    Copies of one picture count once, because they stay on one side; a picture with conflicting
    labels does not count.
    """
    classes = scanned.index.classes
    if len(classes) < 2:
        named = f': "{classes[0]}"' if classes else ""
        message = f"one class only{named}; at least 2 needed"
        yield Finding("error", "one_class", message, classes, "add a folder for each class")
    if not scanned.splits:
        needed, why = 3, "to split"
    elif "train" not in scanned.splits:  # data to evaluate on: nothing is drawn from it
        needed, why = 0, ""
    elif "val" not in scanned.splits:
        needed, why = 2, "to draw a validation split from train"
    else:
        needed, why = 1, "in train"
    targets, pictures, rows = scanned.targets, scanned.pictures, scanned.index.rows
    filed = np.unique(pictures * max(1, len(classes)) + targets) // max(1, len(classes))
    once = np.bincount(filed, minlength=1) == 1
    learnt = [at for at, name in enumerate(rows.splits.values) if name in ("", "train")]
    counts = np.isin(rows.splits.numbers[scanned.usable], learnt) & once[pictures]
    there = set(rows.targets.tolist())
    for target, name in enumerate(classes):
        mine = np.unique(pictures[counts & (targets == target)])
        where = (name,)
        if target not in there:
            message = f'class "{name}" has no images'
            yield Finding("error", "empty_class", message, where, "fill or remove the folder")
        elif len(mine) < needed:
            message = (
                f'class "{name}" has {len(mine)} usable image{"s" * (len(mine) != 1)}; '
                f"at least {needed} needed {why}"
            )
            fix = "add pictures of it, or take the class folder out"
            yield Finding("error", "too_few_images", message, where, fix)
