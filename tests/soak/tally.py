"""What the parts of the soak found."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Tally:
    """`counts` of what was tried, `failures` as "kind: what and where", `samples` of what was
    measured (seconds, bytes).
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)
    answer: Any = None
    """What a job hands back to whoever gave it, JSON."""

    def fail(self, kind: str, text: str) -> None:
        """Note a failure."""
        self.failures.append(f"{kind}: {text}")

    def sample(self, name: str, value: float) -> None:
        """Note a measurement."""
        self.samples.setdefault(name, []).append(value)

    def add(self, other: Tally) -> None:
        """Take in what another found."""
        self.counts += other.counts
        self.failures += other.failures
        for name, values in other.samples.items():
            self.samples.setdefault(name, []).extend(values)

    def to_json(self) -> bytes:
        """For another process."""
        return json.dumps(vars(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Tally:
        """What `to_json` made."""
        values = json.loads(data)
        return cls(**values | {"counts": Counter(values["counts"])})
