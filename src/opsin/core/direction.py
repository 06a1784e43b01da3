"""Which way a metric is better, as far as its name tells."""

from __future__ import annotations

_SMALLER = {"loss", "error", "mse", "mae", "rmse", "mape", "distance", "perplexity", "brier"}


def grows_by_name(name: str) -> bool:
    """What the name of a metric says of it: less of a loss or an error is better.

    >>> grows_by_name("val_loss"), grows_by_name("accuracy")
    (False, True)
    """
    return not _SMALLER & set(name.lower().split("_"))
