"""What every row needs to know: where things are, and how much is to be measured."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from environments import REQUIREMENTS, python_of
from processes import Failed

SHARED = Path(__file__).resolve().parents[2] / "shared"


@dataclass(frozen=True)
class Bench:
    """`rounds`: how often each command runs, and counts; `quick`: few epochs, small sets, to see
    that a row works; `work`: a folder of this run's own.
    """

    work: Path
    peers: Path
    shared: Path
    docs: Path
    rounds: int
    quick: bool

    def data(self, name: str) -> Path:
        """A set of the shared data. Raises `Failed` where it is not there."""
        return self._there(self.shared / "data" / name)

    @property
    def weights(self) -> Path:
        """mobilenetv2_100 trained on ImageNet. Raises `Failed` where it is not there."""
        return self._there(self.shared / "weights" / "mobilenetv2_100_imagenet.safetensors")

    def peer(self, environment: str, script: str) -> list[str]:
        """The command that runs a peer's script. Raises `Failed` where it cannot be installed."""
        return [python_of(environment, self.peers), str(REQUIREMENTS / script)]

    def cache(self, name: str) -> dict[str, str]:
        """An environment in which opsin keeps what it keeps in a folder of this name."""
        return {"OPSIN_CACHE_DIR": str(self.work / "caches" / name)}

    @staticmethod
    def _there(path: Path) -> Path:
        if not path.exists():
            raise Failed(f"needs {path.name}, which is not beside the project")
        return path


def all_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))
