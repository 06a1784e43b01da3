"""The step of a head that is solved: one batch, one solution, no rate."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.core.config import TrainConfig
from opsin.core.config_checks import why_head_learns_by_steps
from opsin.features.extract import FeatureLoader
from opsin.features.solve import Chooser, Solution, solve
from opsin.tasks.losses import cross_entropy
from opsin.tasks.meter import Meter
from opsin.tasks.task import Task
from opsin.training.processes import Processes
from opsin.training.step import BeforeUpdate, Moment, Step
from opsin.training.sums import Values
from opsin.training.supervised import SupervisedStep


class SolvedHead(Step):
    """Puts the solution for the one batch of a stage (all views of all pictures) into `module`.

    `judge`: the step that the head would learn by; it measures. `val`: the held-out features that
    choose the regularisation, by `by`. `class_weights`, `even_classes`: rows count as the task
    weighs them, or so that every class counts the same (where training would draw them so).

    `choice` says what was chosen, and goes into the checkpoint.
    """

    def __init__(
        self,
        judge: SupervisedStep,
        val: FeatureLoader,
        *,
        by: Chooser = "loss",
        class_weights: Sequence[float] | None = None,
        even_classes: bool = False,
        on_step: Callable[[int, int], None] = lambda done, total: None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        assert isinstance(judge.module, nn.Linear)
        self.module: nn.Linear = judge.module
        self.choice: dict[str, Any] = {}
        self._judge = judge
        self._val = val
        self._by: Chooser = by
        self._class_weights = class_weights
        self._even_classes = even_classes
        self._on_step = on_step
        self._say = say

    @property
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """None."""
        return {}

    def begin(self, device: torch.device, processes: Processes) -> None:
        """Load scikit-learn while the backbone is asked."""
        self._judge.begin(device, processes)
        # A worker forked while another thread imports would wait for it for ever.
        if not self._val.pictures.workers:
            threading.Thread(target=_load, daemon=True).start()

    def learn(self, batch: Batch, moment: Moment, before_update: BeforeUpdate) -> Values:
        """Solve; the values are those of the solution. There is no gradient, so nobody is asked
        before the update.
        """
        held = self._val.everything()
        targets = batch.targets.cpu().numpy()
        classes = max(self.module.out_features, 2)
        found = solve(
            _array(batch),
            targets,
            _array(held),
            held.targets.cpu().numpy(),
            classes,
            class_weights=self._class_weights,
            row_weights=_even(targets, classes) if self._even_classes else None,
            by=self._by,
            on_step=self._on_step,
        )
        with torch.no_grad():
            self.module.weight.copy_(torch.from_numpy(found.weight))
            if self.module.bias is not None:
                self.module.bias.copy_(torch.from_numpy(found.bias))
        self.choice = {
            "c": found.c,
            "by": self._by,
            "tried": [asdict(each) for each in found.tried],
        }
        self._say(_sentence(found, self._by, len(batch), len(held)))
        self.module.eval()
        with torch.no_grad():
            return self.evaluate(batch, self.meter([]))

    def evaluate(self, batch: Batch, meter: Meter) -> Values:
        """As a head that learns by steps."""
        return self._judge.evaluate(batch, meter)

    def meter(self, names: Sequence[str]) -> Meter:
        """As a head that learns by steps."""
        return self._judge.meter(names)

    def state(self) -> dict[str, Any]:
        """What was chosen."""
        return {"choice": self.choice, "judge": self._judge.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self.choice = state["choice"]
        self._judge.load(state["judge"])


def why_by_steps(
    config: TrainConfig, head: nn.Module, task: Task, *, mixes: bool, processes: int
) -> str:
    """Why the head of a frozen backbone cannot be solved; empty where it can."""
    reason = why_head_learns_by_steps(config)
    if reason:
        return reason
    if processes > 1:
        return "several processes train"
    if mixes:
        return "pictures are mixed with others"
    if getattr(task, "loss_function", None) is not cross_entropy:
        return "the loss is one of your own"
    if type(head) is not nn.Linear or head.bias is None:
        return "the head is not one linear layer with a bias"
    return ""


def _load() -> None:
    try:
        import sklearn.linear_model  # noqa: F401
    except Exception:  # said where it is needed
        return


def _array(batch: Batch) -> Any:
    return batch.inputs.detach().cpu().numpy()


def _even(targets: Any, classes: int) -> Any:
    """Weights of mean 1 by which each class that is there counts the same."""
    counts = np.bincount(targets, minlength=classes)
    return (len(targets) / np.count_nonzero(counts) / np.maximum(counts, 1))[targets]


def _sentence(found: Solution, by: str, rows: int, held: int) -> str:
    chosen = next(each for each in found.tried if each.c == found.c)
    open_end = "" if chosen.converged else f", not converged after {chosen.iterations} iterations"
    return (
        f"head   solved on {rows:,} rows: C {found.c:.3g} of {len(found.tried)} tried, by val_{by} "
        f"(loss {chosen.loss:.4f}, accuracy {chosen.accuracy:.3f} on {held:,}){open_end}"
    )
