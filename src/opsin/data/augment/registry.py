"""Augmentations by name: functions (uint8 C H W, generator) -> uint8 C H W."""

from __future__ import annotations

from opsin.core.registry import Registry

AUGMENTATIONS = Registry(
    "augmentation",
    [
        ("none", "opsin.data.augment.none:unchanged"),
        ("light", "opsin.data.augment.light:light"),
        ("trivial", "opsin.data.augment.trivial:trivial_augment_wide"),
    ],
)
