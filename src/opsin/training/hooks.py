"""Telling the callbacks, and hearing what they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from opsin.core.errors import OpsinError, WrongUsage
from opsin.training import events
from opsin.training.callback import Answer, Callback

_EVENT_OF: dict[type, events.Event] = {
    events.TrainStart: events.Event.TRAIN_START,
    events.StageStart: events.Event.STAGE_START,
    events.EpochStart: events.Event.EPOCH_START,
    events.BatchStart: events.Event.BATCH_START,
    events.UpdateStart: events.Event.UPDATE_START,
    events.BatchEnd: events.Event.BATCH_END,
    events.ValidationStart: events.Event.VALIDATION_START,
    events.ValidationEnd: events.Event.VALIDATION_END,
    events.EpochEnd: events.Event.EPOCH_END,
    events.TrainEnd: events.Event.TRAIN_END,
    events.Failure: events.Event.FAILURE,
}


class Hooks:
    """The callbacks in order, and their memory.

    One that raises does not keep the others from hearing the event: what went wrong waits in
    `failed` until the loop stands where it can save. An `OpsinError` (the NaN guard's) is raised
    at once.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = list(callbacks)
        self.failed: WrongUsage | None = None

    def tell(self, record: Any) -> list[Answer]:
        """Give `record` to the method of its event; the answers that are not None."""
        method = _EVENT_OF[type(record)].value
        answers = []
        for callback in self.callbacks:
            try:
                answers.append(getattr(callback, method)(record))
            except OpsinError:
                raise
            except Exception as error:
                self.failed = self.failed or _failed(callback, method, error)
        return [answer for answer in answers if answer is not None]

    def raise_failed(self) -> None:
        """Raise what went wrong, if anything did."""
        if self.failed:
            raise self.failed

    def listens(self, event: events.Event) -> bool:
        """Whether any callback has a method of its own for `event`."""
        plain = getattr(Callback, event.value)
        return any(getattr(type(each), event.value) is not plain for each in self.callbacks)

    def state(self) -> dict[str, Any]:
        """Every callback's memory, as JSON."""
        return {name: callback.state() for name, callback in self._named()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every callback's tensors, by callback and name."""
        return {
            f"{name}.{key}": tensor
            for name, callback in self._named()
            for key, tensor in callback.tensors().items()
        }

    def load(self, state: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        """Give back what `state` and `tensors` took; a callback that is new gets nothing."""
        for name, callback in self._named():
            if name in state:
                own = {
                    key.removeprefix(f"{name}."): tensor
                    for key, tensor in tensors.items()
                    if key.startswith(f"{name}.")
                }
                callback.load(state[name], own)

    def _named(self) -> list[tuple[str, Callback]]:
        """Each by its class; several of one class are numbered."""
        seen: dict[str, int] = {}
        named = []
        for callback in self.callbacks:
            kind = type(callback).__name__
            seen[kind] = seen.get(kind, 0) + 1
            named.append((kind if seen[kind] == 1 else f"{kind}-{seen[kind]}", callback))
        return named


def _failed(callback: Callback, method: str, error: Exception) -> WrongUsage:
    fault = WrongUsage(
        f"callback {type(callback).__name__}.{method} raised {type(error).__name__}: {error}",
        code="callback_failed",
        fix="mend the callback, then go on with the run",
    )
    fault.__cause__ = error
    return fault
