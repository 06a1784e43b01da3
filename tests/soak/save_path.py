"""Killed at every write call, before it, in the middle of it, and after it.

Twice: the loop with everything that it writes (a training of a fifth of a second, so that every
call can be tried), and `opsin.train` from its first call to its last.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.soak.children import Child, forked, own_cache
from tests.soak.matrix import ROWS, SHARED, removed
from tests.soak.random_kills import training
from tests.soak.records import (
    checkpoints_ending,
    differences,
    ending,
    reached,
    run_in,
    unreadable,
)
from tests.soak.tally import Tally
from tests.soak.write_calls import MOMENTS, WriteCalls

Point = tuple[int, str]


def run_tiny(folder: Path, *, broken: bool = False) -> None:
    """Train the tiny network in `folder`, or go on with it: two bests, averaged weights, history
    and position, a checkpoint in the middle of each epoch and after it. `broken`: with a save that
    is not atomic, to see that this is noticed.
    """
    from tests.training.points import make_trainer, network

    from opsin.training import checkpoint
    from opsin.training.callbacks.averaging import Averaging
    from opsin.training.callbacks.history_file import HistoryFile
    from opsin.training.callbacks.position_file import PositionFile
    from opsin.training.checkpoint import CheckpointStore
    from opsin.training.monitor import Monitor
    from opsin.training.saving import Saving

    if broken:
        checkpoint.write_bytes = _write_in_place
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    saved, notes = CheckpointStore(checkpoints).newest()
    if notes:
        raise SystemExit(f"not whole: {notes}")
    model = network()
    make_trainer(
        checkpoints,
        epochs=3,
        model=model,
        schedule="one_cycle",
        monitors=[Monitor("val_loss"), Monitor("val_accuracy", higher=True)],
        callbacks=[
            HistoryFile(folder / "history.csv"),
            PositionFile(checkpoints / "position.txt"),
            Averaging(0.9),
        ],
        saving=Saving(steps=4, seconds=math.inf),
    ).fit(saved)


def count_calls(folder: Path, work: Callable[[], Any]) -> tuple[list[tuple[str, str]], list[str]]:
    """The write calls of `work` inside `folder`; and what is wrong with the counting."""
    listed = folder.with_name(f"{folder.name}.calls.json")
    folder.mkdir(parents=True)

    def counted() -> None:
        calls = WriteCalls(folder)
        calls.install()
        work()
        Path(listed).write_text(json.dumps([calls.seen, calls.missed()]))

    child = forked(listed.with_suffix(".log"), counted)
    if child.wait():
        return [], [f"broken: the run without a kill failed: {child.words()}"]
    seen, missed = json.loads(listed.read_text())
    wrong = [f"broken: calls that were not counted: {missed}"] if missed else []
    return [(kind, name) for kind, name in seen], wrong


def points(calls: list[tuple[str, str]], share: float, offset: int = 0) -> list[Point]:
    """Where to die: each call at each moment that it has, or an even `share` of them.

    >>> points([("open", "a"), ("write", "a")], 1.0)
    [(1, 'before'), (1, 'after'), (2, 'before'), (2, 'half'), (2, 'after')]
    """
    every = [
        (number, moment)
        for number, (kind, _) in enumerate(calls, start=1)
        for moment in MOMENTS
        if moment != "half" or kind == "write"
    ]
    step = max(1.0, 1 / share)
    start = offset % max(1, math.floor(step))
    return [every[int(at * step) + start] for at in range(int((len(every) - start - 1) / step) + 1)]


def floor(calls: list[tuple[str, str]], number: int) -> int:
    """The step of the newest checkpoint that was there before call `number`; -1 for none.

    >>> floor([("rename", "step-00000004.ab.safetensors"), ("rename", "history.csv")], 2)
    4
    """
    steps = [
        int(name.partition(".")[0].removeprefix("step-"))
        for kind, name in calls[: number - 1]
        if kind == "rename" and name.startswith("step-")
    ]
    return max(steps, default=-1)


def killed(folder: Path, work: Callable[[], Any], point: Point) -> Child:
    """`work` in a child that dies at `point`."""
    folder.mkdir(parents=True, exist_ok=True)

    def doomed() -> None:
        WriteCalls(folder, point).install()
        work()

    return forked(folder.with_name(f"{folder.name}.log"), doomed)


def try_tiny(
    folder: Path, point: Point, floor: int, expected: Mapping[str, str], *, broken: bool
) -> Tally:
    """One point of the loop's own writes: all is whole, step `floor` is not lost, and the end is
    the same. `broken` as in `run_tiny`.
    """
    tally = Tally()
    where = f"call {point[0]}, {point[1]} ({folder})"

    child = killed(folder, lambda: run_tiny(folder, broken=broken), point)
    child.wait()
    if child.status != -9:
        tally.fail("broken", f"{where}: was not reached, exit {child.status}: {child.words()}")
        return tally
    tally.counts["points of the loop"] += 1
    _look(tally, where, folder, floor)
    again = forked(folder.with_name(f"{folder.name}.log"), lambda: run_tiny(folder))
    if again.wait():
        tally.fail("refused", f"{where}: exit {again.status}: {again.words()}")
    elif different := differences(dict(expected), checkpoints_ending(folder / "checkpoints")):
        tally.fail("differs", f"{where}: {', '.join(different[:6])}")
    if not tally.failures:
        removed(folder)
    return tally


def try_train(
    folder: Path, pictures: Path, row: str, point: Point, floor: int, expected: Mapping[str, str]
) -> Tally:
    """One point of all that `opsin.train` writes, likewise."""
    tally = Tally()
    where = f"{row}, call {point[0]}, {point[1]} ({folder})"
    work = training(pictures, settings_of(row, folder))
    child = killed(folder, work, point)
    child.wait()
    if child.status != -9:
        tally.fail("broken", f"{where}: was not reached, exit {child.status}: {child.words()}")
        return tally
    tally.counts["points of opsin.train"] += 1
    run = run_in(folder)
    if run:
        _look(tally, where, run, floor)
        again = forked(child.log, lambda: _resume_here(run))
    else:
        again = forked(child.log, work)
    if again.wait():
        tally.fail("refused", f"{where}: exit {again.status}: {again.words()}")
        return tally
    run = run_in(folder)
    assert run
    if different := differences(dict(expected), ending(run)):
        tally.fail("differs", f"{where}: {', '.join(different[:6])}")
    tally.counts["temporary files left"] += sum(1 for _ in run.rglob(".*.tmp"))
    if not tally.failures:
        removed(folder)
    return tally


def _look(tally: Tally, where: str, run: Path, floor: int) -> None:
    for what in unreadable(run):
        tally.fail("unreadable", f"{where}: {what}")
    step = reached(run / "checkpoints")
    if step < floor:
        tally.fail("unreadable", f"{where}: step {floor} was saved, and now {step} is the newest")


def settings_of(row: str, folder: Path) -> dict[str, Any]:
    """The settings of every run whose calls are numbered."""
    return SHARED | ROWS[row] | {"project": folder, "checkpoint_steps": 4, "epochs": 3}


def _resume_here(run: Path) -> None:
    import opsin

    own_cache(run.parent)
    opsin.resume(run)


def _write_in_place(path: Path, data: bytes) -> str:
    with path.open("wb") as file:
        file.write(data)
    return ""
