"""Telling the callbacks, and hearing what they ask for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch

from opsin.core.errors import OpsinError, WrongUsage
from opsin.training import events
from opsin.training.callback import Answer, Ask, Callback, Epochs, Scale

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


_HEARD: dict[type, tuple[Any, ...]] = {
    events.EpochStart: (Scale, Epochs),
    events.BatchStart: (Ask.SKIP,),
    events.BatchEnd: (Ask.SAVE, Ask.STOP),
    events.EpochEnd: (Ask.SAVE, Ask.STOP, Epochs),
}
"""What each event listens to; an answer that nobody hears is an error."""


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
        method, heard = _EVENT_OF[type(record)].value, _HEARD.get(type(record), ())
        answers: list[Answer] = []
        for callback in self.callbacks:
            answer = self._call(callback, method, record)
            if answer is None:
                continue
            known = isinstance(answer, Ask | Scale | Epochs)
            if known and (answer in heard or type(answer) in heard):
                answers.append(answer)
            else:
                self._fail(callback, method, f"answered {answer!r}, which is not heard there")
        return answers

    def raise_failed(self) -> None:
        """Raise what went wrong, if anything did."""
        if self.failed:
            raise self.failed

    def listens(self, event: events.Event) -> bool:
        """Whether any callback has a method of its own for `event`."""
        plain = getattr(Callback, event.value)
        return any(getattr(type(each), event.value) is not plain for each in self.callbacks)

    def state(self) -> dict[str, Any]:
        """Every callback's memory; one that is no JSON is as if the callback had raised."""
        found = {}
        for name, callback in self._named():
            state = self._call(callback, "state")
            if state is not None and _as_json(state) != state:
                self._fail(callback, "state", "gave what JSON does not give back as it was")
                state = None
            found[name] = state or {}
        return found

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every callback's tensors, by callback and name."""
        return {
            f"{name}.{key}": tensor
            for name, callback in self._named()
            for key, tensor in (self._call(callback, "tensors") or {}).items()
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
                self._call(callback, "load", state[name], own)
        self.raise_failed()

    def _call(self, callback: Callback, method: str, *arguments: Any) -> Any:
        try:
            return getattr(callback, method)(*arguments)
        except OpsinError:
            raise
        except Exception as error:
            self._fail(callback, method, f"raised {type(error).__name__}: {error}", error)
            return None

    def _fail(
        self, callback: Callback, method: str, what: str, cause: Exception | None = None
    ) -> None:
        fault = WrongUsage(
            f"callback {type(callback).__name__}.{method} {what}",
            code="callback_failed",
            fix="mend the callback, then go on with the run",
        )
        fault.__cause__ = cause
        self.failed = self.failed or fault

    def _named(self) -> list[tuple[str, Callback]]:
        """Each by its class; several of one class are numbered."""
        seen: dict[str, int] = {}
        named = []
        for callback in self.callbacks:
            kind = type(callback).__name__
            seen[kind] = seen.get(kind, 0) + 1
            named.append((kind if seen[kind] == 1 else f"{kind}-{seen[kind]}", callback))
        return named


def _as_json(state: Any) -> Any:
    try:
        return json.loads(json.dumps(state))
    except (TypeError, ValueError):
        return None
