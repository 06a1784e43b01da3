"""The first batch tells whether model, loss and targets belong together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.core.errors import WrongUsage
from opsin.tasks.classification import Classification
from opsin.tasks.ending import are_log_probabilities, ending, in_unit, sums_to_one
from opsin.tasks.loss_kinds import Reads, is_ours, what_it_reads
from opsin.tasks.losses import reads_classes, shape
from opsin.tasks.own import OwnTask
from opsin.tasks.task import Task

SHOWN = 5


def check_first_batch(
    task: Task | Callable[[Any, Any], torch.Tensor],
    module: nn.Module,
    outputs: Any,
    batch: Batch,
) -> None:
    """Raise `WrongUsage` where the loss of `task` (or a plain loss function) cannot mean what the
    outputs of `module` or the targets are: outputs of a wrong number, labels outside the classes,
    a softmax or sigmoid before a loss that has its own, logits for a loss of probabilities.

    To be asked after the first forward pass and before the loss. The loss is not called, nothing
    is drawn and nothing changed, so that a resumed run may ask again. Nothing is said of outputs
    that are not finite, nor of losses that are not known.
    """
    if not isinstance(task, Task):
        task = OwnTask(task)
    if not isinstance(task, Classification | OwnTask):
        return
    if isinstance(task, Classification):
        _check_width(task, outputs, len(batch))
        _check_labels(batch.targets, range(len(task.classes)), batch.ids)
    if not isinstance(outputs, torch.Tensor) or not isinstance(batch.targets, torch.Tensor):
        return
    reads = what_it_reads(task.loss_function, outputs, batch.targets)
    if reads is None or not outputs.is_floating_point():
        return
    if isinstance(task, OwnTask):
        _check_targets(task, reads, outputs, batch)
    if outputs.numel() and bool(outputs.isfinite().all()):
        _check_meaning(task.loss_name, reads, module, outputs)


def check_labels(task: Task, outputs: Any, batch: Batch) -> None:
    """Raise `WrongUsage` for class indices that are none, of every batch: torch looks at them with
    some losses and not with others, and a GPU says nothing that can be read.
    """
    targets = batch.targets
    if isinstance(task, Classification):
        _check_labels(targets, range(len(task.classes)), batch.ids)
    elif isinstance(task, OwnTask) and _reads_class_indices(task, outputs, targets):
        ignored = getattr(task.loss_function, "ignore_index", None)
        _check_labels(targets, range(max(outputs.shape[1], 2)), batch.ids, ignored)
    elif isinstance(task, OwnTask) and isinstance(outputs, torch.Tensor):
        reads = what_it_reads(task.loss_function, outputs, targets)
        if reads in ("sigmoid logits", "probabilities") and targets.is_floating_point():
            _check_unit(task, targets)
        if reads == "probabilities" and bool(outputs.isfinite().all()) and not in_unit(outputs):
            low, high = float(outputs.min()), float(outputs.max())
            raise WrongUsage(
                f"it reads probabilities, and the outputs go from {low:.3g} to {high:.3g}",
                code="logits_for_probabilities",
                where=f"loss {task.loss_name}",
                fix="a sigmoid at the end of the model, or better the loss of logits",
            )


def _reads_class_indices(task: OwnTask, outputs: Any, targets: Any) -> bool:
    if not (isinstance(outputs, torch.Tensor) and isinstance(targets, torch.Tensor)):
        return False
    if targets.is_floating_point() or outputs.ndim < 2:
        return False
    if is_ours(task.loss_function):
        return reads_classes(outputs, targets)
    reads = what_it_reads(task.loss_function, outputs, targets)
    return reads in ("softmax logits", "log-probabilities")


def _check_width(task: Classification, outputs: Any, count: int) -> None:
    if not isinstance(outputs, torch.Tensor):
        raise WrongUsage(
            f"the model returned {type(outputs).__name__}; wanted is one tensor of logits",
            code="wrong_outputs",
            where="model",
            fix="return the logits alone",
        )
    classes = len(task.classes)
    allowed = {1, 2} if classes == 2 else {classes}
    if outputs.ndim == 2 and len(outputs) == count and outputs.shape[1] in allowed:
        return
    wanted = " or ".join(f"{count} x {width}" for width in sorted(allowed))
    raise WrongUsage(
        f"the outputs are {shape(outputs)}; wanted are logits {wanted} for "
        f"{classes} classes ({', '.join(task.classes[:SHOWN])}{', ...' * (classes > SHOWN)})",
        code="wrong_outputs",
        where="model",
        fix=f"{task.num_outputs} outputs in its last layer",
    )


def _check_labels(
    targets: Any, allowed: range, ids: Sequence[str], ignored: int | None = None
) -> None:
    if not isinstance(targets, torch.Tensor) or targets.is_floating_point():
        raise WrongUsage(
            "class labels are whole numbers, came "
            + (str(targets.dtype) if isinstance(targets, torch.Tensor) else type(targets).__name__),
            code="wrong_labels",
            where="targets",
        )
    outside = (targets < allowed.start) | (targets >= allowed.stop)
    if ignored is not None:
        outside &= targets != ignored
    rows = outside.flatten(1).any(1) if outside.ndim > 1 else outside
    bad = rows.nonzero()[:, 0].tolist()
    if bad:
        found = [
            f"{ids[row]} has {int(targets[row][outside[row]].flatten()[0])}" for row in bad[:SHOWN]
        ]
        more = f" and {len(bad) - SHOWN} more in this batch" if len(bad) > SHOWN else ""
        raise WrongUsage(
            f"labels outside 0 to {allowed.stop - 1}: {', '.join(found)}{more}",
            code="label_out_of_range",
            where="targets",
            fix="count classes from 0, and give the model an output for each; values that are no "
            "classes are floats",
        )


def _check_targets(task: OwnTask, reads: Reads, outputs: torch.Tensor, batch: Batch) -> None:
    targets, ours = batch.targets, is_ours(task.loss_function)
    where = f"loss {task.loss_name}"
    if ours and not reads_classes(outputs, targets):
        return  # it sees to shapes itself
    if ours or (
        reads in ("softmax logits", "log-probabilities") and not targets.is_floating_point()
    ):
        wanted = outputs.shape[:1] + outputs.shape[2:]
        if outputs.ndim < 2 or targets.shape != wanted or (outputs.shape[1] == 1 and not ours):
            raise WrongUsage(
                f"the outputs are {shape(outputs)}, the targets {shape(targets)}; wanted are a "
                "column for each class and one class index a sample",
                code="wrong_shape",
                where=where,
                fix="outputs B x K with K of 2 or more, and targets B",
            )
        ignored = getattr(task.loss_function, "ignore_index", None)
        _check_labels(targets, range(max(outputs.shape[1], 2)), batch.ids, ignored)
        return
    if outputs.shape != targets.shape:
        raise WrongUsage(
            f"the outputs are {shape(outputs)}, the targets {shape(targets)}; they must be alike",
            code="wrong_shape",
            where=where,
            fix="outputs[:, 0] or outputs.squeeze(1) at the end of the model"
            if outputs.shape == (*targets.shape, 1)
            else "one output for each target value",
        )
    if reads in ("sigmoid logits", "probabilities"):
        if not targets.is_floating_point():
            raise WrongUsage(
                f"it reads targets of floats, came {targets.dtype}", where=where, fix="float()"
            )
        _check_unit(task, targets)


def _check_unit(task: OwnTask, targets: torch.Tensor) -> None:
    where = f"loss {task.loss_name}"
    if not in_unit(targets):
        low, high = float(targets.min()), float(targets.max())
        raise WrongUsage(
            f"targets are probabilities from 0 to 1, came {low:g} to {high:g}",
            code="label_out_of_range",
            where=where,
        )


def _check_meaning(name: str, reads: Reads, module: nn.Module, outputs: torch.Tensor) -> None:
    where = f"loss {name}"
    if reads in ("softmax logits", "sigmoid logits"):
        end = ending(module, outputs)
        # A log-softmax twice is the same as once.
        if end is None or (end == "log-softmax" and reads == "softmax logits"):
            return
        raise WrongUsage(
            f"the model ends with a {end}, and this loss reads logits: it applies its own, and "
            "two of them learn slowly and answer with wrong probabilities",
            code="not_logits",
            where=where,
            fix=f"take the {end} out of the model",
        )
    outputs = outputs.detach()
    if reads == "probabilities" and not in_unit(outputs):
        low, high = float(outputs.min()), float(outputs.max())
        raise WrongUsage(
            f"it reads probabilities, and the outputs go from {low:.3g} to {high:.3g}",
            code="not_probabilities",
            where=where,
            fix="nn.BCEWithLogitsLoss, which reads logits",
        )
    if reads == "log-probabilities" and outputs.ndim > 1 and not are_log_probabilities(outputs):
        found = "probabilities" if sums_to_one(outputs) else "logits"
        raise WrongUsage(
            f"it reads log-probabilities, and the outputs are {found}: their exponentials do not "
            "sum to 1",
            code="not_probabilities",
            where=where,
            fix="nn.CrossEntropyLoss on logits, or log_softmax at the end of the model",
        )
