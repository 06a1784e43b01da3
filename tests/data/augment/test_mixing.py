"""MixUp and CutMix: pixels and the shares of labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from opsin.data.augment.augmenter import Augmenter
from opsin.data.augment.mixing import beta

COUNT = 400
EPOCHS, IDS = [1] * COUNT, [str(number) for number in range(COUNT)]


def flat(level: int, height: int = 20, width: int = 30, count: int = COUNT) -> torch.Tensor:
    return torch.full((count, 3, height, width), level, dtype=torch.uint8)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.5, 1.0, 2.0, 10.0])
def test_shares_are_of_beta(alpha: float) -> None:
    drawn = np.linspace(0.0005, 0.9995, 1000)
    expected = stats.beta(alpha, alpha).ppf(drawn)
    assert np.abs(beta(alpha, drawn) - expected).max() < 1e-3


def test_mixup_is_the_mean_by_the_share() -> None:
    mixed, shares = Augmenter("mixup=1", seed=0).mix(flat(200), flat(0), EPOCHS, IDS)
    assert stats.kstest(shares.numpy(), "uniform").pvalue > 1e-4
    expected = torch.round(200 * shares.double()).view(-1, 1, 1, 1)
    assert (mixed.double() - expected).abs().max() <= 1


def test_cutmix_counts_the_area_that_is_left_after_clipping() -> None:
    mixed, shares = Augmenter("cutmix", seed=0).mix(flat(1), flat(0), EPOCHS, IDS)
    left = mixed.double().mean((1, 2, 3))
    assert torch.equal(left.float(), shares) or (left - shares).abs().max() < 1e-6
    assert shares.std() > 0.1
    boxes = [np.argwhere(picture[0] == 0) for picture in mixed.numpy()]
    assert any(len(b) and (b[:, 0].min() == 0 or b[:, 1].max() == 29) for b in boxes), "at a border"
    for found in boxes:
        if len(found):
            sides = found.max(axis=0) - found.min(axis=0) + 1
            assert sides.prod() == len(found), "one box"


def test_one_of_both_is_drawn_for_each_picture() -> None:
    augmenter = Augmenter("mixup=1,cutmix", seed=0)
    mixed, shares = augmenter.mix(flat(200), flat(0), EPOCHS, IDS)
    cut = [set(picture.unique().tolist()) <= {0, 200} for picture in mixed]
    assert 0.4 < np.mean(cut) < 0.6
    words = augmenter.describe(EPOCHS, IDS, (20, 30))
    for said, is_cut, share in zip(words, cut, shares.tolist(), strict=True):
        if 0.01 < share < 0.99:
            name, percent = said.split()
            assert name == ("cutmix" if is_cut else "mixup")
            assert abs(float(percent.rstrip("%")) - 100 * share) <= 0.501


def test_a_batch_of_one_is_mixed_with_itself() -> None:
    images = torch.arange(3 * 4 * 5, dtype=torch.uint8).view(1, 3, 4, 5)
    for recipe in ("mixup", "cutmix"):
        mixed, shares = Augmenter(recipe, seed=0).mix(images, images, [1], ["a"])
        assert (mixed.int() - images.int()).abs().max() == 0
        assert 0 <= shares.item() <= 1


def test_a_picture_of_one_pixel() -> None:
    mixed, shares = Augmenter("cutmix", seed=0).mix(flat(9, 1, 1), flat(4, 1, 1), EPOCHS, IDS)
    assert torch.equal(mixed[:, 0, 0, 0] == 9, shares == 1)
