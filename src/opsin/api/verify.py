"""`opsin verify`: is the bundle whole, and does it give the recorded answers here?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Verified:
    """What was checked: files by SHA-256, golden samples by their answers."""

    path: Path
    hash: str
    files: int
    golden: int
    max_difference: float

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self) | {"path": str(self.path)}


def verify(bundle: str | Path) -> Verified:
    """Check every file's SHA-256 and replay the golden samples.

    Raises `ModelRefused` (damaged, exit 4) or `NumbersWrong` (other answers, exit 5).
    """
    from opsin.bundle.load import load_bundle
    from opsin.bundle.predictor import Predictor
    from opsin.bundle.verify import replay_golden

    checked = load_bundle(Path(bundle))
    replay = replay_golden(Predictor(checked))
    files = len(checked.manifest.files)
    return Verified(checked.path, checked.hash, files, replay.samples, replay.max_difference)
