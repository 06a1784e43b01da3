"""Augmentations by name: classes made from a strength, `Augmentation` or `Mixing`.

Their strengths, ranges and one-line helps stand in `opsin.core.augment`, under the same names in
the same order, which is the order they are done in.
"""

from __future__ import annotations

from opsin.core.registry import Registry

AUGMENTATIONS = Registry(
    "augmentation",
    [
        ("hflip", "opsin.data.augment.geometry:HFlip"),
        ("vflip", "opsin.data.augment.geometry:VFlip"),
        ("rotate", "opsin.data.augment.geometry:Rotate"),
        ("crop", "opsin.data.augment.geometry:Crop"),
        ("resized_crop", "opsin.data.augment.geometry:ResizedCrop"),
        ("translate", "opsin.data.augment.geometry:Translate"),
        ("zoom", "opsin.data.augment.geometry:Zoom"),
        ("shear", "opsin.data.augment.geometry:Shear"),
        ("brightness", "opsin.data.augment.colour:Brightness"),
        ("contrast", "opsin.data.augment.colour:Contrast"),
        ("saturation", "opsin.data.augment.colour:Saturation"),
        ("hue", "opsin.data.augment.colour:Hue"),
        ("gamma", "opsin.data.augment.colour:Gamma"),
        ("sharpness", "opsin.data.augment.colour:Sharpness"),
        ("blur", "opsin.data.augment.colour:Blur"),
        ("noise", "opsin.data.augment.colour:Noise"),
        ("erasing", "opsin.data.augment.colour:Erasing"),
        ("trivial", "opsin.data.augment.policies:Trivial"),
        ("randaugment", "opsin.data.augment.policies:RandAugment"),
        ("mixup", "opsin.data.augment.mixing:MixUp"),
        ("cutmix", "opsin.data.augment.mixing:CutMix"),
    ],
)
