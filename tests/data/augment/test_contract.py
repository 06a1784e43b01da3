"""What every augmentation must do: each name of the registry, from its first day on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from opsin.core.augment import AUGMENTATIONS as SETTINGS
from opsin.core.augment import PRESETS
from opsin.data.augment.augmentation import Augmentation, Mixing
from opsin.data.augment.augmenter import Augmenter
from opsin.data.augment.registry import AUGMENTATIONS

COUNT = 24
IDS = [f"cat/{number} ä.jpg" for number in range(COUNT)]
EVERYTHING = ",".join(name for name in SETTINGS if name not in ("mixup", "cutmix"))
RECIPES = [*AUGMENTATIONS, "light", EVERYTHING, "mixup=2,cutmix", "vflip=1,rotate=180,hue=180"]
SIZES = [(32, 32), (33, 47), (40, 1), (1, 9)]


def noise(size: tuple[int, int], channels: int = 3) -> torch.Tensor:
    """uint8 B C H W, every level in it."""
    levels = np.random.default_rng(0).integers(0, 256, (COUNT, channels, *size), np.uint8)
    return torch.from_numpy(levels)


def photos(folder: Path, size: tuple[int, int]) -> torch.Tensor:
    """uint8 B 3 H W: half of them of happy_sad, half of pizza_steak_sushi."""
    files = [
        *sorted((folder / "happy_sad").glob("*/*.jp*g"))[: COUNT // 2],
        *sorted((folder / "pizza_steak_sushi" / "train").glob("*/*.jpg"))[: COUNT // 2],
    ]
    shape = (size[1], size[0])
    pixels = [np.asarray(Image.open(file).convert("RGB").resize(shape)) for file in files]
    return torch.from_numpy(np.stack(pixels).transpose(0, 3, 1, 2).copy())


def augmented(recipe: str, images: torch.Tensor, rows: list[int], epoch: int = 3) -> torch.Tensor:
    """Augmented and mixed as a loader does it, each with a partner that is the same alone."""
    augmenter = Augmenter(recipe, seed=7)
    epochs, ids = [epoch] * len(rows), [IDS[row] for row in rows]
    result = augmenter(images[rows], epochs, ids)
    if augmenter.mixes:
        partners = images[rows].flip(-1).contiguous()
        result, shares = augmenter.mix(result, partners, epochs, ids)
        assert shares.dtype == torch.float32
        assert ((shares >= 0) & (shares <= 1)).all()
    return result


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_picture_is_the_same_in_every_batch(recipe: str, shared_data: Path) -> None:
    """Alone, in any order, with one thread and with two: the same bits."""
    threads = torch.get_num_threads()
    batches = [noise(size) for size in SIZES] + [photos(shared_data, (64, 48))]
    try:
        for images in batches:
            given = images.clone()
            torch.set_num_threads(2)
            together = augmented(recipe, images, list(range(COUNT)))
            assert together.dtype == torch.uint8
            assert together.shape == images.shape
            assert torch.equal(images, given), "changed what it was given"
            for row in (0, 13, 23):
                assert torch.equal(augmented(recipe, images, [row])[0], together[row])
            torch.set_num_threads(1)
            backwards = augmented(recipe, images, list(reversed(range(COUNT))))
            assert torch.equal(backwards.flip(0), together)
            some = [3, 17, 5]
            assert torch.equal(augmented(recipe, images, some), together[some])
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("recipe", RECIPES)
def test_pictures_change_and_differ_by_epoch_and_seed(recipe: str) -> None:
    images = noise((24, 40))
    first = augmented(recipe, images, list(range(COUNT)))
    second = augmented(recipe, images, list(range(COUNT)), epoch=4)
    changed = [not torch.equal(a, b) for a, b in zip(images, first, strict=True)]
    differ = [not torch.equal(a, b) for a, b in zip(first, second, strict=True)]
    assert sum(changed) >= 3
    assert sum(differ) >= 3
    other = Augmenter(recipe, seed=8)
    if other.active:
        assert not torch.equal(other(images, [3] * COUNT, IDS), first)


def test_nobody_elses_generator_is_drawn_from() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]
    for recipe in RECIPES:
        augmented(recipe, noise((16, 16)), [0, 1, 2])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]


def test_grey_pictures_are_augmented_too() -> None:
    images = noise((24, 40), channels=1)
    for recipe in RECIPES:
        assert augmented(recipe, images, [0, 1]).shape == (2, 1, 24, 40)


def test_none_does_nothing() -> None:
    augmenter = Augmenter("none", seed=0)
    assert not augmenter.active
    assert not augmenter.mixes
    images = noise((8, 8))
    assert torch.equal(augmenter(images, [0] * COUNT, IDS), images)
    assert augmenter.describe([0], ["a"], (8, 8)) == [""]


def test_strength_nothing_changes_nothing() -> None:
    images = noise((24, 24))
    for name, setting in SETTINGS.items():
        if setting.default is not None and setting.low == 0:
            augmenter = Augmenter(f"{name}=0", seed=0)
            assert torch.equal(augmenter(images, [0] * COUNT, IDS), images)


def test_another_augmentation_leaves_the_draws_of_the_first() -> None:
    alone = Augmenter("rotate", seed=0).plan([1, 2], ["a", "b"], (20, 20))
    among = Augmenter("trivial,noise,rotate", seed=0).describe([1, 2], ["a", "b"], (20, 20))
    for words, mine in zip(among, alone.words(), strict=True):
        assert mine in words


def test_settings_and_classes_are_of_the_same_names() -> None:
    assert list(SETTINGS) == list(AUGMENTATIONS)
    assert not set(SETTINGS) & set(PRESETS)
    for name in AUGMENTATIONS:
        made = AUGMENTATIONS.load(name)
        assert issubclass(made, Augmentation | Mixing)
        assert made.draws > 0
        assert made(SETTINGS[name].default or 0.0).strength == (SETTINGS[name].default or 0.0)


@pytest.mark.parametrize("recipe", RECIPES)
def test_where_it_was_used_first_does_not_matter(recipe: str) -> None:
    """A frozen backbone is asked in inference mode, whose tensors cannot be written to outside."""
    images, rows = noise((16, 16)), list(range(8))

    def twice() -> bool:
        with torch.inference_mode():
            first = augmented(recipe, images, rows)
        return torch.equal(first, augmented(recipe, images, rows))

    with ThreadPoolExecutor(1) as fresh:  # whose memory nobody used before
        assert fresh.submit(twice).result()
