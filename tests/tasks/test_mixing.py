"""Losses and scores of mixed samples, against targets mixed by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from opsin.core.batch import Batch, Mixed
from opsin.core.errors import WrongUsage
from opsin.tasks.classification import Classification
from opsin.tasks.mixing import losses, scores

DRAW = torch.Generator().manual_seed(0)
LOGITS = torch.randn(6, 3, generator=DRAW)
FIRST = torch.tensor([0, 1, 2, 0, 1, 2])
SECOND = torch.tensor([1, 1, 0, 2, 0, 2])
SHARE = torch.tensor([1.0, 0.0, 0.25, 0.5, 0.9, 0.3])
MIXED = Batch(torch.zeros(6, 1), FIRST, tuple("abcdef"), mixed=Mixed(SECOND, SHARE))


def test_the_loss_is_that_of_mixed_labels() -> None:
    soft = SHARE[:, None] * functional.one_hot(FIRST, 3) + (
        1 - SHARE[:, None]
    ) * functional.one_hot(SECOND, 3)
    wanted = functional.cross_entropy(LOGITS.double(), soft.double(), reduction="none")
    found = losses(Classification(("a", "b", "c")), LOGITS, MIXED)
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-6)


def test_a_plain_batch_is_left_alone() -> None:
    task = Classification(("a", "b", "c"))
    plain = Batch(MIXED.inputs, FIRST, MIXED.ids)
    assert torch.equal(losses(task, LOGITS, plain), task.loss(LOGITS, plain))
    assert torch.equal(
        scores(task, LOGITS, plain)["accuracy"], task.scores(LOGITS, plain)["accuracy"]
    )


def test_accuracy_counts_each_label_by_its_share() -> None:
    chosen = LOGITS.argmax(1)
    wanted = SHARE * (chosen == FIRST) + (1 - SHARE) * (chosen == SECOND)
    assert torch.equal(scores(Classification(("a", "b", "c")), LOGITS, MIXED)["accuracy"], wanted)


def test_parts_of_a_mixed_batch_keep_their_shares() -> None:
    task = Classification(("a", "b", "c"))
    parts = [MIXED.part(0, 4), MIXED.part(4, 6)]
    found = torch.cat([losses(task, LOGITS[:4], parts[0]), losses(task, LOGITS[4:], parts[1])])
    assert torch.equal(found, losses(task, LOGITS, MIXED))
    moved = MIXED.to(torch.device("cpu"))
    assert moved.mixed is not None
    assert torch.equal(moved.mixed.share, SHARE)


def test_a_loss_that_is_a_mean_already_is_refused() -> None:
    task = Classification(("a", "b", "c"), loss=torch.nn.CrossEntropyLoss())
    with pytest.raises(WrongUsage, match="value for each sample"):
        losses(task, LOGITS, MIXED)
