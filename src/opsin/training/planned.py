"""How many epochs are planned: those of a stage, and fewer while a callback asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from opsin.training.callback import Answer, Epochs
from opsin.training.history import History
from opsin.training.processes import Processes
from opsin.training.stage import Stage


def epochs_of_all(stages: Sequence[Stage], number: int, history: History) -> int:
    """Epochs of all stages, while stage `number` runs: of those that are over as many as they had.

    A stage that is over ran for fewer epochs than it has when a callback ended it.
    """
    had = [len(history.of_stage(each.name)) for each in stages[:number]]
    return sum(had) + sum(each.epochs for each in stages[number:])


def planned(stage: Stage, answers: Sequence[Answer], done: int, processes: Processes) -> Stage:
    """`stage` with the fewest epochs that one of `answers` asks for, `done` of them or more, never
    with more than it was made for. The rate goes on where the schedule of so many epochs is at that
    place.

    Clocks differ: every process asks, and what the first one asks for counts.
    """
    asked = [each.planned for each in answers if isinstance(each, Epochs)]
    if not asked:
        return stage
    fewest = int(processes.share_text(str(min(asked))))
    most = stage.most or stage.epochs
    return replace(stage, epochs=min(most, max(done, fewest, 1)), most=most)
