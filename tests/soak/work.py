"""The jobs of the pool: JSON in, a `Tally` out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.soak import flips, random_kills, save_path
from tests.soak.records import checkpoints_ending, ending, run_in
from tests.soak.tally import Tally


def _reference(folder: str, pictures: str, row: str, real: bool) -> Tally:
    tally = Tally()
    tally.answer = random_kills.reference(Path(folder), Path(pictures), row, real=real)
    return tally


def _flip(folder: str, checkpoints: str, count: int, seed: str) -> Tally:
    return flips.flip_bits(Path(folder), Path(checkpoints), count, seed)


def _large(folder: str, size: int) -> Tally:
    return flips.read_large(Path(folder), size)


def _loop_calls(folder: str, broken: bool) -> Tally:
    tally = Tally()
    place = Path(folder)
    calls, wrong = save_path.count_calls(place, lambda: save_path.run_tiny(place, broken=broken))
    tally.failures += wrong
    if not wrong:
        tally.answer = {"calls": calls, "ending": checkpoints_ending(place / "checkpoints")}
    return tally


def _loop_point(folder: str, point: list[Any], **more: Any) -> Tally:
    return save_path.try_tiny(Path(folder), (point[0], point[1]), **more)


def _train_calls(folder: str, pictures: str, row: str) -> Tally:
    tally = Tally()
    place = Path(folder)
    settings = save_path.settings_of(row, place)
    calls, wrong = save_path.count_calls(place, random_kills.training(Path(pictures), settings))
    tally.failures += wrong
    run = run_in(place)
    if not wrong and run:
        tally.answer = {"calls": calls, "ending": ending(run)}
    return tally


def _train_point(folder: str, pictures: str, row: str, point: list[Any], **more: Any) -> Tally:
    place = Path(folder)
    return save_path.try_train(place, Path(pictures), row, (point[0], point[1]), **more)


def _trial(folder: str, pictures: str, **more: Any) -> Tally:
    return random_kills.Trial(Path(folder), Path(pictures), **more).run()


WORK: dict[str, Callable[..., Tally]] = {
    "reference": _reference,
    "flip": _flip,
    "large": _large,
    "loop calls": _loop_calls,
    "loop point": _loop_point,
    "train calls": _train_calls,
    "train point": _train_point,
    "trial": _trial,
}
