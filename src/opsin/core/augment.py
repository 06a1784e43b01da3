"""The words of `--augment`: what there is, how strong it may be, and how a recipe is read."""

from __future__ import annotations

import math
from dataclasses import dataclass

from opsin.core.registry import near

Recipe = tuple[tuple[str, float | None], ...]
"""(name, strength) of each augmentation, None for those that take no strength."""


@dataclass(frozen=True)
class Setting:
    """One augmentation: its usual strength (None: it takes none), what is allowed, and what the
    number means.
    """

    name: str
    default: float | None
    low: float
    high: float
    unit: str
    help: str


AUGMENTATIONS = {
    setting.name: setting
    for setting in (
        Setting("hflip", 0.5, 0, 1, "probability", "left and right changed"),
        Setting("vflip", 0.5, 0, 1, "probability", "top and bottom changed"),
        Setting("rotate", 15, 0, 180, "degrees", "turned by up to so much, either way"),
        Setting("crop", 0.125, 0, 0.5, "share of the side", "padded by so much, cut at random"),
        Setting("resized_crop", 0.08, 0.01, 1, "smallest share of the area", "a part, enlarged"),
        Setting("translate", 0.1, 0, 1, "share of the side", "shifted by up to so much"),
        Setting("zoom", 0.1, 0, 0.9, "share", "enlarged or made smaller by up to so much"),
        Setting("shear", 10, 0, 60, "degrees", "slanted by up to so much, along both sides"),
        Setting("brightness", 0.2, 0, 1, "share", "light times 1 - s to 1 + s"),
        Setting("contrast", 0.2, 0, 1, "share", "distance to the mean grey times 1 - s to 1 + s"),
        Setting("saturation", 0.2, 0, 1, "share", "distance to grey times 1 - s to 1 + s"),
        Setting("hue", 18, 0, 180, "degrees", "colours turned by up to so much"),
        Setting("gamma", 0.2, 0, 3, "share", "levels to the power of 1 / (1 + s) to 1 + s"),
        Setting("sharpness", 0.5, 0, 1, "share", "smoother or sharper, 0: no change"),
        Setting("blur", 1, 0, 20, "pixels", "Gaussian blur of 0.1 up to this sigma"),
        Setting("noise", 8, 0, 128, "levels", "Gaussian noise of up to this deviation"),
        Setting("erasing", 0.25, 0, 1, "probability", "a box of 2 to 33 % of the area made grey"),
        Setting("trivial", None, 0, 0, "", "TrivialAugment Wide: one operation of fourteen"),
        Setting("randaugment", 9, 0, 30, "magnitude", "RandAugment: two operations of fourteen"),
        Setting("mixup", 0.2, 0, 10, "alpha", "mixed with another picture, labels too"),
        Setting("cutmix", 1, 0, 10, "alpha", "a box from another picture, labels too"),
    )
}

PRESETS = {
    "none": "",
    "light": "hflip=0.5,translate=0.08,zoom=0.1,brightness=0.2,contrast=0.2",
}

ALIASES = {
    "flip": "hflip",
    "horizontal_flip": "hflip",
    "vertical_flip": "vflip",
    "rotation": "rotate",
    "degrees": "rotate",
    "random_crop": "crop",
    "random_resized_crop": "resized_crop",
    "shift": "translate",
    "translation": "translate",
    "scale": "zoom",
    "color": "saturation",
    "colour": "saturation",
    "sharpen": "sharpness",
    "gaussian_blur": "blur",
    "gaussian_noise": "noise",
    "random_erasing": "erasing",
    "erase": "erasing",
    "cutout": "erasing",
    "trivialaugment": "trivial",
    "trivial_augment": "trivial",
    "rand_augment": "randaugment",
}


def parse_augment(text: str) -> Recipe:
    """The augmentations that `text` asks for, in the order of `AUGMENTATIONS`, which is the order
    they are done in; every one that takes a strength has it.

    Names with commas between them, a strength behind "=", presets among them. Raises `ValueError`
    for a name that is not known, a strength that is none or out of range, the same twice.

    >>> parse_augment("flip, rotate=30, trivial")
    (('hflip', 0.5), ('rotate', 30.0), ('trivial', None))
    >>> parse_augment("none"), parse_augment("light")[1]
    ((), ('translate', 0.08))
    """
    words = [word.strip() for word in text.split(",")]
    if not any(words):
        raise ValueError('empty; "none" means no augmentation')
    found: dict[str, tuple[float | None, str]] = {}
    for word in words:
        if word == "none" and len(words) > 1:
            raise ValueError('"none" stands alone, or not at all')
        inside = PRESETS[word].split(",") if word in PRESETS else [word]
        for part in [] if word == "none" else inside:
            name, strength = _one(part)
            if name in found:
                raise ValueError(_twice(name, found[name][1], word))
            found[name] = strength, word
    return tuple((name, found[name][0]) for name in AUGMENTATIONS if name in found)


def normalise_augment(text: str) -> str:
    """`text` without spaces, checked. Raises `ValueError`.

    >>> normalise_augment(" flip, rotate = 30")
    'flip,rotate=30'
    """
    parse_augment(text)
    return "".join(text.split())


def _one(word: str) -> tuple[str, float | None]:
    name, equals, number = (part.strip() for part in word.partition("="))
    if not name:
        raise ValueError("a name is missing between two commas")
    setting = AUGMENTATIONS.get(ALIASES.get(name, name))
    if setting is None and name in PRESETS:
        raise ValueError(f'"{name}" is a preset and takes no strength')
    if setting is None:
        meant = near(name, [*AUGMENTATIONS, *PRESETS, *ALIASES])
        guess = f'; did you mean "{meant[0]}"?' if meant else "."
        allowed = ", ".join([*PRESETS, *AUGMENTATIONS])
        raise ValueError(f'unknown augmentation "{name}"{guess} Allowed: {allowed}')
    if not equals:
        return setting.name, setting.default
    if setting.default is None:
        raise ValueError(f'"{name}" takes no strength, came {number!r}')
    try:
        strength = float(number)
    except ValueError:
        strength = math.nan
    if not setting.low <= strength <= setting.high:
        raise ValueError(
            f'"{name}" takes {setting.low:g} to {setting.high:g} ({setting.unit}), came {number!r}'
        )
    return setting.name, strength


def _twice(name: str, first: str, second: str) -> str:
    return (
        f'"{name}" twice'
        if first == second
        else f'"{name}" twice: by "{first}" and again by "{second}"'
    )
