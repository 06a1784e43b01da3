"""`Prediction`: what a model says of one picture, in the words of its class list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ClassPrediction:
    """Probabilities over the class list, in its order; they sum to 1.

    >>> p = ClassPrediction("cat.jpg", ("cat", "dog"), (0.8, 0.2))
    >>> p.label, p.probability, p.top(1)
    ('cat', 0.8, [('cat', 0.8)])
    """

    source_id: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    notes: tuple[str, ...] = ()

    @property
    def index(self) -> int:
        """The most probable class; the first of equals."""
        return max(range(len(self.probabilities)), key=self.probabilities.__getitem__)

    @property
    def label(self) -> str:
        """The name of the most probable class."""
        return self.classes[self.index]

    @property
    def probability(self) -> float:
        """The probability of `label`, in [0, 1]."""
        return self.probabilities[self.index]

    def top(self, k: int) -> list[tuple[str, float]]:
        """The `k` most probable classes with their probabilities, most probable first."""
        order = sorted(range(len(self.classes)), key=lambda i: (-self.probabilities[i], i))
        return [(self.classes[i], self.probabilities[i]) for i in order[:k]]

    def to_dict(self, k: int = 5) -> dict[str, Any]:
        """As a JSON object, with the `k` most probable classes."""
        top = [{"label": name, "probability": value} for name, value in self.top(k)]
        return {
            "source": self.source_id,
            "label": self.label,
            "probability": self.probability,
            "top": top,
            "notes": list(self.notes),
        }
