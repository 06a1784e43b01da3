"""Whole trainings: a command of ours beside the loops people write, on the same pictures.

Round r has seed r. Ours goes first and leaves its split; the peers get links to those pictures.
Before the rounds that count, each side runs once for one epoch, so that files and libraries are
in memory, and our store is filled. `first run` has an empty cache folder in every round.
"""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench import Bench
from environments import versions_of
from processes import OPSIN, Failed, run
from shares import Share
from table import Line, Row
from tree import link_split

PEERS = {
    "plain PyTorch, 0 workers": ("lightning", "with_torch.py", 0),
    "plain PyTorch, 2 workers": ("lightning", "with_torch.py", 2),
    "fastai": ("fastai", "with_fastai.py", 0),
    "Lightning": ("lightning", "with_lightning.py", 0),
    "Keras/TensorFlow": ("tensorflow", "with_keras.py", 0),
}
PLAIN = ("plain PyTorch, 0 workers", "plain PyTorch, 2 workers")
OURS, FIRST = "opsin", "opsin, first run"


@dataclass(frozen=True)
class Training:
    """What is trained on both sides. `targets`: by peer, of the whole process; `steady`: of the
    epochs from the third on; `options`: ours; `augment`: the peers' name for the same.
    """

    data: str
    network: str
    size: int
    targets: dict[str, float]
    steady: float | None = None
    options: tuple[str, ...] = ()
    augment: str = "none"
    frozen: bool = False
    epochs: int = 20


@dataclass
class Side:
    """What the rounds of one side gave."""

    wall_s: list[float] = field(default_factory=list)
    epoch_s: list[float] = field(default_factory=list)
    correct: int = 0
    count: int = 0
    failed: str = ""

    def add(self, wall_s: float, epoch_s: list[float], correct: int, count: int) -> None:
        """One round more; an epoch counts from the third on."""
        self.wall_s.append(wall_s)
        self.epoch_s += epoch_s[2:]
        self.correct += correct
        self.count += count

    @property
    def whole(self) -> float:
        """Median seconds of a process."""
        return statistics.median(self.wall_s)

    @property
    def steady(self) -> float | None:
        """Median seconds of an epoch from the third on, where there were any."""
        return statistics.median(self.epoch_s) if self.epoch_s else None

    @property
    def share(self) -> Share:
        """Right answers on the test split."""
        return Share(self.correct, self.count, max(1, len(self.wall_s)))


def measure(training: Training, bench: Bench, row: Row) -> None:
    """Fill the row: a line for each peer, of the whole process and of a steady epoch."""
    epochs = 3 if bench.quick else training.epochs
    sides = {name: Side() for name in (OURS, FIRST, *training.targets)}
    for number in range(bench.rounds + 1):
        warming = number == 0
        seed, length = max(0, number - 1), 1 if warming else epochs
        here = bench.work / row.name / str(number)
        here.mkdir(parents=True, exist_ok=True)
        ours = _ours(training, bench, here / "ours", f"{row.name}-warm", seed, length)
        tree = link_split(here / "ours", bench.data(training.data), here / "tree")
        if not warming:
            sides[OURS].add(*ours)
            cold = f"{row.name}-cold-{number}"
            sides[FIRST].add(*_ours(training, bench, here / "first", cold, seed, length))
        for name in training.targets:
            _try(sides[name], _peer(name, training, bench, here, tree, seed, length), warming)
    _lines(training, sides, row)
    environments = sorted({PEERS[name][0] for name in training.targets})
    row.notes += [f"{name}: {versions_of(name)}." for name in environments]
    row.notes += [
        f"{epochs} epochs of batch 32, Adam at 0.001, validation after each, then the test split; "
        f"seeds {', '.join(map(str, range(bench.rounds)))}, each with its own split (the test "
        "pictures are the same where the data names them).",
        "ours: `opsin train "
        + " ".join((training.data, *_options(training, epochs)))
        + "`, decoded pictures (and no features) kept from an earlier run; `first run`: nothing "
        "kept.",
    ]


def _options(training: Training, epochs: int) -> list[str]:
    # The peers are judged by their last weights too.
    fixed = ["--epochs", str(epochs), "--no-report", "--no-bundle", "--no-restore-best"]
    named = [] if training.frozen else ["--model", training.network]
    return [*named, *training.options, *fixed]


def _ours(
    training: Training, bench: Bench, folder: Path, cache: str, seed: int, epochs: int
) -> tuple[float, list[float], int, int]:
    data = bench.data(training.data)
    command = [*OPSIN, "train", str(data), *_options(training, epochs), "--seed", str(seed)]
    if training.frozen:
        command += ["--model", "timm:mobilenetv2_100", "--weights", str(bench.weights), "--freeze"]
        # What the backbone said in the round before would be found again.
        kept = [*OPSIN, "cache", "--clear", "features"]
        run(kept, environment=bench.cache(cache))
    command += ["--project", str(folder.parent), "--name", folder.name]
    ran = run(command, environment=bench.cache(cache), folder=folder.parent)
    with (folder / "history.csv").open(encoding="utf-8", newline="") as file:
        seconds = [float(line["seconds"]) for line in csv.DictReader(file)]
    correct, count = accuracy(folder)
    return ran.wall_s, seconds, correct, count


def accuracy(run_folder: Path) -> tuple[int, int]:
    """Right answers and pictures of the test split, as a run's metrics.json has them."""
    values = json.loads((run_folder / "metrics.json").read_text("utf-8"))["values"]
    wanted = {"split": "test", "slice": "all", "metric": "accuracy"}
    (found,) = [value for value in values if wanted.items() <= value.items()]
    return round(found["value"] * found["count"]), found["count"]


def _peer(
    name: str, training: Training, bench: Bench, here: Path, tree: Path, seed: int, epochs: int
) -> Callable[[], tuple[float, list[float], int, int]]:
    environment, script, workers = PEERS[name]

    def once() -> tuple[float, list[float], int, int]:
        job = {
            "tree": str(tree),
            "network": training.network,
            "size": training.size,
            "batch": 32,
            "epochs": epochs,
            "lr": 1e-3,
            "seed": seed,
            "workers": workers,
            "augment": training.augment,
            "weights": str(bench.weights) if training.frozen else "",
        }
        file = here / f"{script}-{workers}.json"
        file.write_text(json.dumps(job), "utf-8")
        ran = run([*bench.peer(environment, script), str(file)], folder=here)
        said = json.loads(ran.output.strip().splitlines()[-1])
        return ran.wall_s, said["epoch_s"], said["correct"], said["count"]

    return once


def _try(
    side: Side, once: Callable[[], tuple[float, list[float], int, int]], warming: bool
) -> None:
    """A peer that failed once is left out: the others go on."""
    if side.failed:
        return
    try:
        result = once()
    except Failed as failure:
        side.failed = str(failure)
        return
    if not warming:
        side.add(*result)


def _lines(training: Training, sides: dict[str, Side], row: Row) -> None:
    ours, first = sides[OURS], sides[FIRST]
    whole = {name: sides[name].whole for name in training.targets if not sides[name].failed}
    if len(whole) > 1:
        best = min(whole, key=lambda name: whole[name])
        row.notes.append(
            f"the best of them by the whole process: {best}, {whole[best] / ours.whole:.2f} times."
        )
    for name, target in training.targets.items():
        theirs = sides[name]
        if theirs.failed:
            row.lines.append(
                Line("whole process", f"{ours.whole:.2f} s", name, failed=theirs.failed)
            )
            continue
        said = f"{ours.share} / {theirs.share}"
        same = ours.share.not_below(theirs.share)
        for what, side, goal in (("", ours, target), (", first run", first, None)):
            row.lines.append(
                Line(
                    f"whole process{what}",
                    f"{side.whole:.2f} s",
                    name,
                    f"{theirs.whole:.2f} s",
                    theirs.whole / side.whole,
                    goal,
                    accuracy=said if side is ours else "",
                    same_accuracy=same,
                )
            )
        if ours.steady and theirs.steady and not training.frozen:
            row.lines.append(
                Line(
                    "steady epoch",
                    f"{ours.steady * 1e3:.0f} ms",
                    name,
                    f"{theirs.steady * 1e3:.0f} ms",
                    theirs.steady / ours.steady,
                    training.steady,
                )
            )
