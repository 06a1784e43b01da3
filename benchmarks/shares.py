"""Right answers out of many, with an interval, and whether two such shares are the same."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """`correct` of `count` right answers, over all `rounds` together.

    The rounds may have asked about the same pictures, so that the interval is that of one round:
    more seeds tell more about the training, and no more about the pictures.
    """

    correct: int
    count: int
    rounds: int = 1

    @property
    def value(self) -> float:
        """The share; with seeds of one size, also the mean over seeds."""
        return self.correct / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % score interval.

        >>> tuple(round(end, 4) for end in Share(81, 263).interval)
        (0.2553, 0.3662)
        """
        z, n, p = 1.959963985, self.count / self.rounds, self.value
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return max(0.0, centre - half), min(1.0, centre + half)

    def not_below(self, other: Share) -> bool:
        """Whether this is no worse than the other, as far as its interval tells.

        >>> Share(50, 100).not_below(Share(55, 100)), Share(50, 100).not_below(Share(75, 100))
        (True, False)
        """
        return self.value >= other.interval[0]

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.3f} [{low:.3f}, {high:.3f}]"
