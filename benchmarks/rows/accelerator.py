"""ResNet-50 at 224 px on an accelerator, where this machine has one."""

from __future__ import annotations

from bench import Bench
from processes import PYTHON, run
from table import Line, Row


def measure(bench: Bench, row: Row) -> None:
    """Says that there was none; where there is one, that nobody has written this row yet."""
    asked = "import torch; print(torch.cuda.is_available())"
    there = run([*PYTHON, "-c", asked]).output.strip() == "True"
    why = "not written yet" if there else "no accelerator was lent"
    row.lines.append(Line("training step", beside="timm, torchvision", failed=why))
