"""Classes of different size: by what each is made to count the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from opsin.data.checks.imbalance import MAX_RATIO

Mode = Literal["none", "weights", "sampling"]
SHOWN = 6


@dataclass(frozen=True)
class ClassShare:
    """`count` training pictures, each with `weight` in the loss; `draws` of the class in an epoch
    (a mean where classes do not divide it).
    """

    name: str
    count: int
    weight: float
    draws: float

    @property
    def factor(self) -> float:
        """How many times as much the class counts as it would by its size."""
        return self.weight * self.draws / self.count if self.count else 0.0


@dataclass(frozen=True)
class Balance:
    """What is done about it: `mode`, and what that does to each class. `ratio`: the largest class
    to the smallest.
    """

    mode: Mode
    ratio: float
    classes: tuple[ClassShare, ...]

    @property
    def weights(self) -> tuple[float, ...] | None:
        """For `Classification(class_weights=)`: of mean 1 over the training pictures, or None."""
        return tuple(row.weight for row in self.classes) if self.mode == "weights" else None

    @property
    def sampling(self) -> bool:
        """For `split_loader(balanced=)`."""
        return self.mode == "sampling"

    def sentence(self) -> str:
        """A line for the plan; "" where the classes are of like size and nothing is done."""
        ratio = f"ratio {self.ratio:.3g}:1"
        if self.mode == "none":
            if self.ratio <= MAX_RATIO:
                return ""
            return f"classes count by their size ({ratio}; --balance weights evens them out)"
        rows = sorted(self.classes, key=lambda row: (row.factor, row.name))
        if len(rows) > SHOWN:
            rows = rows[: SHOWN // 2] + rows[-SHOWN // 2 :]
        effects = [f"{row.name} x{row.factor:.2g}" for row in rows]
        if len(self.classes) > SHOWN:
            effects.insert(SHOWN // 2, "...")
        done = "weighted" if self.mode == "weights" else "drawn equally often"
        return f"classes {done}: {', '.join(effects)} ({ratio}; --balance none switches it off)"

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object, for `metrics.json`."""
        return asdict(self)


def choose_balance(
    targets: Sequence[int], classes: Sequence[str], setting: str = "auto"
) -> Balance:
    """What `setting` (auto, none, weights, sampling) means for the training `targets`.

    `auto`: weights where the largest class has more than ten times the pictures of the smallest,
    else none. A weight is n / (K n_k), as scikit-learn's "balanced": their mean over the n pictures
    is 1, so that the loss and the rate keep their size. A class without a picture weighs 1.

    >>> choose_balance([0] * 6 + [1] * 2, ["cat", "dog"], "weights").sentence()
    'classes weighted: cat x0.67, dog x2 (ratio 3:1; --balance none switches it off)'
    """
    counts = [0] * len(classes)
    for target in targets:
        counts[target] += 1
    present = [count for count in counts if count]
    ratio = max(present) / min(present) if present else 1.0
    mode: Mode = "none"
    if setting == "weights" or (setting == "auto" and ratio > MAX_RATIO):
        mode = "weights"
    elif setting == "sampling":
        mode = "sampling"
    even = len(targets) / max(len(present), 1)
    return Balance(
        mode,
        ratio,
        tuple(
            ClassShare(
                name,
                count,
                even / count if mode == "weights" and count else 1.0,
                even if mode == "sampling" and count else float(count),
            )
            for name, count in zip(classes, counts, strict=True)
        ),
    )
