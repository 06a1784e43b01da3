"""Stop before an update with numbers that are none."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.core.errors import NoRoom, NumbersWrong
from opsin.core.printable import printable
from opsin.core.run_dir import write_rows
from opsin.training.callback import Callback
from opsin.training.callbacks.nan_search import (
    Found,
    finite,
    in_forward,
    in_gradients,
    rows_finite,
)
from opsin.training.events import TrainStart, UpdateStart

SHOWN = 3


class NanGuard(Callback):
    """Raises `NumbersWrong` before the update when the loss or the gradient is nan or infinite:
    weights and checkpoints stay as they are. It names the layer where it began and the batch, and
    writes the batch's ids to `diverged.csv` in `folder`.

    `scaled`: the loss is scaled for float16, which leaves out steps with infinite gradients by
    itself; only the loss is looked at. `autocast`: the context of the forward passes. Every
    process of a run needs it, with its `rank`: each names its own share of the batch, all but the
    first in a `diverged-RANK.csv`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        scaled: bool = False,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
        rank: int = 0,
    ) -> None:
        self.path = folder / (f"diverged-{rank}.csv" if rank else "diverged.csv")
        self._scaled = scaled
        self._autocast = autocast
        self._norm: float | None = None
        self._names: dict[int, str] = {}

    def state(self) -> dict[str, Any]:
        """The gradient's norm at the last step."""
        return {"norm": self._norm}

    def load(self, state: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        """Take it back."""
        self._norm = state["norm"]

    def on_train_start(self, start: TrainStart) -> None:
        """Learn the names: those of the whole model, whatever a stage calls."""
        self._names = {id(part): name for name, part in start.model.named_modules()}

    def on_update_start(self, start: UpdateStart) -> None:
        """Look at the loss and at the gradient that the optimizer is about to use."""
        norm = None if self._scaled else _norm(start.optimizer)
        if math.isfinite(start.loss) and (norm is None or math.isfinite(norm)):
            self._norm = norm
            return
        raise self._fault(start, norm)

    def _fault(self, start: UpdateStart, norm: float | None) -> NumbersWrong:
        prefix = self._names.get(id(start.module), "")
        if math.isfinite(start.loss):
            found = in_gradients(start.module, prefix=prefix)
            what = f"the gradient became {norm} (loss {start.loss:.4g})"
        else:
            found = _searched(start.module, start.batch, self._autocast, prefix)
            what = f"loss became {start.loss}"
        rate = max(
            (group["lr"] / group.get("rate_share", 1.0) for group in start.optimizer.param_groups),
        )
        return NumbersWrong(
            f"{what} at epoch {start.epoch}, step {start.step} of {start.steps}; "
            f"first {found.place}{self._norms(norm)}; {self._listed(start.batch, found)}; "
            "the weights were not changed",
            code="diverged",
            where=str(self.path.parent),
            fix="look at the data: these inputs were not finite before the model saw them"
            if "inputs of the batch" in found.place
            else f"a lower rate than the {rate:.3g} of this step, for example "
            f"--lr {rate / 10:.3g}; or look at the pictures with opsin check",
        )

    def _norms(self, norm: float | None) -> str:
        now = "" if norm is None else f"; gradient norm {norm:.2g}"
        before = "" if self._norm is None else f" ({self._norm:.2g} one step before)"
        return now + before if now else ""

    def _listed(self, batch: Batch, found: Found) -> str:
        """Save the list of the batch; what to say of it, culprits first."""
        inputs, outputs = _words(rows_finite(batch.inputs), batch), _words(found.rows, batch)
        table = list(zip(batch.ids, inputs, outputs, strict=True))
        wrong = inputs if "false" in inputs else outputs
        culprits = [i for i, word in zip(batch.ids, wrong, strict=True) if word == "false"]
        culprits = culprits or list(batch.ids)
        names = ", ".join(printable(name) for name in culprits[:SHOWN])
        more = f" and {len(culprits) - SHOWN} more" if len(culprits) > SHOWN else ""
        try:
            write_rows(self.path, ["path", "inputs_finite", "outputs_finite"], table)
            saved = f"batch list saved as {self.path.name}"
        except NoRoom:
            saved = "batch list could not be saved"
        return f"{saved}: {names}{more}"


def _words(rows: torch.Tensor | None, batch: Batch) -> list[str]:
    """`true` or `false` for each sample, empty where it is not known."""
    if rows is None or len(rows) != len(batch):
        return [""] * len(batch)
    return ["true" if row else "false" for row in rows.tolist()]


def _searched(
    module: nn.Module,
    batch: Batch,
    autocast: Callable[[], AbstractContextManager[object]],
    prefix: str,
) -> Found:
    try:
        return in_forward(module, batch, autocast, prefix=prefix)
    except Exception as error:
        # The search must not hide the fault that it is to explain.
        return Found(f"in a layer that is not known ({type(error).__name__} when searching)")


@torch.no_grad()
def _norm(optimizer: torch.optim.Optimizer) -> float:
    gradients = [
        parameter.grad.coalesce().values() if parameter.grad.is_sparse else parameter.grad
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]
    total = float(torch.nn.utils.get_total_norm(gradients))
    if not math.isfinite(total) and finite(gradients):
        # Squares overflow long before numbers do.
        total = math.hypot(*(float(each.double().norm()) for each in gradients))
    return total
