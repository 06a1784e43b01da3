"""A run that is killed at random times and resumed each time, beside one that never was."""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.soak.children import HANGS_S, Child, command, flags, forked, own_cache
from tests.soak.matrix import ROWS, SAVING, SHARED, removed
from tests.soak.records import (
    differences,
    ending,
    reached,
    run_in,
    unreadable,
)
from tests.soak.tally import Tally

MISSES = 3
"""So often a run may end before the kill."""


@dataclass
class Trial:
    """One run of `row`, killed `kills` times. `real`: by the command line, imports and all;
    `flip`: after a kill, also turn a bit of the newest checkpoint when there is a spare.
    """

    folder: Path
    pictures: Path
    row: str
    seed: str
    kills: int
    reference: Mapping[str, Any]
    real: bool = False
    flip: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tally = Tally()
        self._random = random.Random(self.seed)
        self._floor = -1
        self._flipped: set[str] = set()

    def run(self) -> Tally:
        """Train, kill and resume until it is done; a trial that went well leaves no files."""
        self.folder.mkdir(parents=True)
        self._cache = own_cache(self.folder)
        left, misses = self.kills, 0
        try:
            while True:
                child = self._start()
                wanted = bool(left) and misses < MISSES
                if self._watch(child, kill=wanted):
                    left -= 1
                    self._look()
                    if self._random.random() < 0.5:
                        self._spoil_cache()
                elif child.status:
                    self._fail("refused", f"exit {child.status}: {child.words()}")
                    break
                elif wanted:
                    misses += 1
                else:
                    break
        except Exception as error:
            self._fail("broken", f"{type(error).__name__}: {error}")
        self._compare()
        if not self.tally.failures:
            removed(self.folder)
        return self.tally

    def _start(self) -> Child:
        workers = self._random.choice((0, 0, 1, 2))
        saving = self._random.choice(SAVING)
        run = run_in(self.folder)
        log = self.folder / "log.txt"
        with log.open("a") as file:
            file.write(f"--- {'resume' if run else 'train'}, workers {workers}\n")
        if run is None:
            settings = SHARED | ROWS[self.row] | {"workers": workers, "project": self.folder}
            return train(log, self.pictures, settings | saving, real=self.real)
        config = run / "config.yaml"
        config.write_text(re.sub(r"(?m)^workers: \d+", f"workers: {workers}", config.read_text()))
        if self.real:
            return command(log, ["train", "--resume", str(run)])
        return forked(log, lambda: _resume(run))

    def _watch(self, child: Child, *, kill: bool) -> bool:
        """Until it ends or is killed, and whether it was. Kills fall anywhere, or in the learning
        once that has begun.
        """
        group, anywhere = self._random.random() < 0.5, self._random.random() < 0.4
        share = self._random.random() / (1 if self.kills < 5 else 4)
        whole_s = self.reference["real_s" if self.real else "whole_s"]
        until = child.started + (share * whole_s if kill and anywhere else math.inf)
        before, learns, at = self._position(), False, b""
        while child.poll() is None:
            now = time.monotonic()
            at = self._position()
            if not learns and at not in (before, b""):
                learns = True
                if before:
                    name = "recovery of the command" if self.real else "recovery"
                    self.tally.sample(name, now - child.started)
                if kill and not anywhere:
                    until = now + share * self.reference["learning_s"]
            if now >= until:
                child.kill(group=group)
                child.wait()
                break
            if now - child.started > HANGS_S:
                child.wait()
            time.sleep(0.002)
        if child.status != -9:
            return False
        # By the file that each step writes and an ended training removes.
        where = "learning" if learns and at else "evaluating" if learns else "starting, reading"
        self.tally.counts["kills of the command" if self.real else "kills"] += 1
        self.tally.counts[f"kills of {'the group' if group else 'the process alone'}"] += 1
        self.tally.counts[f"kills while {where}"] += 1
        return True

    def _position(self) -> bytes:
        run = run_in(self.folder)
        try:
            return (run / "checkpoints" / "position.txt").read_bytes() if run else b""
        except OSError:
            return b""

    def _look(self) -> None:
        """After a kill: everything can be read, and no step that was saved is lost."""
        run = run_in(self.folder)
        if run is None:
            return
        self.tally.counts["states read"] += 1
        for what in unreadable(run):
            if what.removesuffix(".damaged") not in self._flipped:
                self._fail("unreadable", what)
        step = reached(run / "checkpoints")
        if step < self._floor:
            self._fail("unreadable", f"step {self._floor} was saved, and now {step} is the newest")
        self._floor = step
        if self.flip and self._random.random() < 0.5:
            self._flip(run / "checkpoints")

    def _flip(self, checkpoints: Path) -> None:
        saved = sorted(checkpoints.glob("step-*.safetensors"))
        # One that was damaged before, and not yet set aside by a resume, leaves no spare.
        if len(saved) < 2 or self._flipped & {path.name for path in saved}:
            return
        data = bytearray(saved[-1].read_bytes())
        bit = self._random.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        saved[-1].write_bytes(data)
        self._flipped.add(saved[-1].name)
        self._floor = reached(checkpoints)
        self.tally.counts["flips resumed"] += 1

    def _spoil_cache(self) -> None:
        """What was kept for later runs is lost, cut short, or has a bit turned."""
        kept = [path for path in sorted(self._cache.rglob("*")) if path.is_file()]
        if not kept:
            return
        path, how = self._random.choice(kept), self._random.choice(("gone", "short", "turned"))
        data = bytearray(path.read_bytes())
        if how == "gone" or not data:
            path.unlink()
        elif how == "short":
            path.write_bytes(data[: self._random.randrange(len(data))])
        else:
            bit = self._random.randrange(8 * len(data))
            data[bit // 8] ^= 1 << bit % 8
            path.write_bytes(data)
        self.tally.counts[f"cache files {how}"] += 1

    def _compare(self) -> None:
        run = run_in(self.folder)
        if self.tally.failures or run is None:
            return
        self.tally.counts["runs compared"] += 1
        try:
            different = differences(self.reference["ending"], ending(run))
        except Exception as error:
            self._fail("broken", f"the ended run cannot be read: {error}")
            return
        if different:
            self._fail("differs", f"{len(different)} things: {', '.join(different[:6])}")
        aside = {path.stem for path in (run / "checkpoints").glob("*.damaged")}
        if aside != self._flipped:
            self._fail("flip not noticed", f"set aside {aside}, damaged were {self._flipped}")
        # Small and hidden; told, because nobody takes them away.
        self.tally.counts["temporary files left"] += sum(1 for _ in run.rglob(".*.tmp"))

    def _fail(self, kind: str, text: str) -> None:
        self.tally.fail(kind, f"{self.row} (seed {self.seed}, {self.folder}): {text}")


def reference(folder: Path, pictures: Path, row: str, *, real: bool = False) -> dict[str, Any]:
    """The run that nothing happens to: how it ends, and how long it takes."""
    folder.mkdir(parents=True)
    own_cache(folder)
    settings = SHARED | ROWS[row] | {"project": folder, "checkpoint_steps": 3}
    child = train(folder / "log.txt", pictures, settings, real=real)
    first = last = 0.0
    while child.poll() is None and time.monotonic() - child.started < HANGS_S:
        learns = any(folder.glob("run*/checkpoints/step-*"))
        first = first or (time.monotonic() if learns else 0.0)
        if first and not last and any(folder.glob("run*/predictions.csv")):
            last = time.monotonic()
        time.sleep(0.002)
    if child.wait():
        raise RuntimeError(f"{row}: the uninterrupted run failed: {child.words()}")
    ended = time.monotonic()
    run = run_in(folder)
    assert run
    learning_s = (last or ended) - (first or ended)
    return {
        "ending": ending(run),
        "whole_s": ended - child.started,
        "learning_s": max(0.05, learning_s),
        "real_s": ended - child.started,
        "run": str(run),
    }


def train(log: Path, pictures: Path, settings: Mapping[str, Any], *, real: bool) -> Child:
    """A new training as a child."""
    if real:
        return command(log, ["train", str(pictures), *flags(settings)])
    return forked(log, training(pictures, settings))


def training(pictures: Path, settings: Mapping[str, Any]) -> Callable[[], Any]:
    """A training in this process."""

    def work() -> None:
        import opsin

        own_cache(settings["project"])
        opsin.train(pictures, **settings)

    return work


def _resume(run: Path) -> None:
    import opsin

    own_cache(run.parent)
    opsin.resume(run)
