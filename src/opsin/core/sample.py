"""`Sample`: one picture with its target, before it becomes part of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Target = TypeVar("Target")
UInt8Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Sample(Generic[Target]):
    """`image`: uint8 C H W, RGB, prepared by the `PreprocessSpec`; `target`: what the task
    says it is (a class index, boxes, ...); `source_id`: where it came from.
    """

    image: UInt8Image
    target: Target
    source_id: str
