"""Accuracies are compared by the interval that statistics packages give."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest
from shares import Share


@pytest.mark.parametrize(("correct", "count"), [(0, 75), (1, 3), (102, 225), (225, 225)])
def test_the_interval_is_that_of_scipy(correct: int, count: int) -> None:
    theirs = binomtest(correct, count).proportion_ci(method="wilson")
    assert Share(correct, count).interval == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_worse_is_below_the_others_interval() -> None:
    assert Share(100, 225).not_below(Share(110, 225))
    assert not Share(80, 225).not_below(Share(110, 225))
    assert Share(225, 225).not_below(Share(80, 225))
