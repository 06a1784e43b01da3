"""A module of somebody's own in the place of a model that is known by name."""

from __future__ import annotations

from opsin.core.preprocess import PreprocessSpec, Resize

OWN = "own:"
"""Before the name of a class or function that is not ours to build."""
IMAGE_SIZE_PX = 64


def own_preparation(image_size: int | None, resize: Resize | None) -> PreprocessSpec:
    """How pictures are prepared for it: a square of `image_size`, else 64 pixels."""
    size = image_size or IMAGE_SIZE_PX
    return PreprocessSpec(size_px=(size, size), resize=resize or "stretch")
