"""What a stage's model is worth on the validation samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from opsin.training.interrupt import StopRequest
from opsin.training.monitor import Monitor
from opsin.training.processes import Processes
from opsin.training.stage import Stage
from opsin.training.sums import Sums


@torch.no_grad()
def validate(
    stage: Stage,
    epoch: int,
    monitors: Sequence[Monitor],
    device: torch.device,
    processes: Processes,
    stop: StopRequest,
) -> dict[str, float] | None:
    """Means over the samples of `stage.val`, and what `monitors` want beyond them, as `val_NAME`.

    None when somebody asks to stop; several processes go on to the end, since they have different
    numbers of batches.
    """
    stage.step.evaluate_mode()
    processes.same_buffers(stage.step.module)
    names = [each.name for each in monitors]
    meter = stage.step.meter([name[4:] for name in names if name.startswith("val_")])
    sums = Sums()
    for batch in stage.val.epoch(epoch):
        sums.add(stage.step.evaluate(batch.to(device), meter))
        if processes.size == 1 and stop.asked:
            return None
    means = sums.means("val_", processes)
    others = meter.compute(processes.gather)
    return means | {f"val_{name}": value for name, value in others.items()}
