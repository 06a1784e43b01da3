"""The parts of the soak, one after the other, each a stream of jobs for the pool."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.soak import random_kills, save_path
from tests.soak.children import load_everything
from tests.soak.matrix import ROWS, SHARED, write_pictures
from tests.soak.pool import Job, Pool
from tests.soak.records import differences
from tests.soak.tally import Tally
from tests.soak.work import WORK

WHOLE = "everything"
"""The row whose every write call is tried."""
SAME = {"plain", "several bests", "logs", "nothing kept"}
"""Rows that need not learn something else than `plain`."""


class Soak:
    """`options`: of the command line. What was found is in `tally`."""

    def __init__(self, options: argparse.Namespace, seed: int, folder: Path) -> None:
        self.options = options
        self.seed = seed
        self.folder = folder
        self.pictures = str(write_pictures(folder / "pictures"))
        self.tally = Tally()
        self.rows = [name for name in ROWS if not options.rows or name in options.rows.split(",")]
        self.references: dict[str, Any] = {}
        self._real_s = 0.0
        self._started = time.monotonic()
        self._told = 0.0

    @property
    def minutes(self) -> float:
        """How long it has taken."""
        return (time.monotonic() - self._started) / 60

    def run(self) -> None:
        """Everything that was asked for, until the time is over."""
        options = self.options
        load_everything(self.folder, self._rehearsal)
        say(f"everything is loaded after {self.minutes:.1f} min")
        pool = Pool(options.jobs, WORK)
        try:
            if options.kills or options.command or options.flips:
                self._refer(pool)
            if options.flips:
                self._part(pool, "flips", self._flips())
            if options.large:
                large = {"folder": str(self.folder / "large"), "size": options.large}
                self._part(pool, "large checkpoints", iter([("large", large)]))
            if options.points:
                jobs = self._points(pool, "loop", options.points, {"broken": options.broken})
                self._part(pool, "points of the loop", jobs)
            if options.train_points:
                shared = {"pictures": self.pictures, "row": WHOLE}
                jobs = self._points(pool, "train", options.train_points, shared)
                self._part(pool, "points of opsin.train", jobs)
            if options.command:
                self._part(pool, "kills of the command", self._commands())
            if options.kills:
                self._part(pool, "kills", self._kills())
        finally:
            pool.close()

    def _rehearsal(self) -> None:
        from opsin import resume

        folder = self.folder / "rehearsal"
        settings = SHARED | ROWS[WHOLE] | {"project": folder, "epochs": 2}
        random_kills.training(Path(self.pictures), settings)()
        resume(folder / "run")
        save_path.run_tiny(folder / "tiny")

    def _refer(self, pool: Pool) -> None:
        """The runs that nothing happens to. Each row must learn something of its own, or its
        setting was not obeyed.
        """
        whole = self.folder / "whole"
        shared = {"pictures": self.pictures, "real": False}
        jobs: list[Job] = [
            ("reference", shared | {"folder": str(whole / row), "row": row}) for row in self.rows
        ]
        if self.options.command:
            real = {"folder": str(whole / "real"), "row": self.rows[0], "real": True}
            jobs.append(("reference", shared | real))
        by_command: dict[str, Any] = {}
        for (_, arguments), tally in pool.run(iter(jobs)):
            self.tally.add(tally)
            if tally.answer is None:
                continue
            found, row = tally.answer, arguments["row"]
            (by_command if arguments["real"] else self.references)[row] = found
            say(f"{row}: {found['whole_s']:.1f} s, {found['learning_s']:.1f} s of it learning")
        self.rows = [row for row in self.rows if row in self.references]
        for row, found in by_command.items():
            self._real_s = found["whole_s"]
            if different := differences(self.references[row]["ending"], found["ending"]):
                self.tally.fail("differs", f"{row} by the command: {', '.join(different[:6])}")
        plain = self.references.get("plain", {}).get("ending")
        for row in set(self.rows) - SAME:
            if self.references[row]["ending"] == plain:
                self.tally.fail("broken", f"row {row} learns the same as plain")

    def _part(self, pool: Pool, count: str, jobs: Iterator[Job]) -> None:
        for _, tally in pool.run(self._in_time(jobs, count)):
            self.tally.add(tally)
            for failure in tally.failures:
                say(f"FAILED {failure}")
            if time.monotonic() - self._told > 10:
                self._told = time.monotonic()
                self._tell(count, f", {len(self.tally.failures)} failures so far")
        self._tell(count, " in all")

    def _tell(self, count: str, more: str) -> None:
        say(f"{self.minutes:5.1f} min  {count}: {self.tally.counts[count]}{more}")

    def _in_time(self, jobs: Iterator[Job], what: str) -> Iterator[Job]:
        for job in jobs:
            if self.minutes > self.options.minutes:
                self.tally.fail("too slow", f"{what} were not all tried in --minutes")
                return
            yield job

    def _flips(self) -> Iterator[Job]:
        count, among = self.options.flips, len(self.rows)
        for number, row in enumerate(self.rows):
            arguments = {
                "folder": str(self.folder / f"flips-{number}"),
                "checkpoints": f"{self.references[row]['run']}/checkpoints",
                "count": count * (number + 1) // among - count * number // among,
                "seed": f"{self.seed} {row}",
            }
            yield "flip", arguments

    def _points(self, pool: Pool, of: str, share: float, shared: dict[str, Any]) -> Iterator[Job]:
        """Count the calls, then a job for each moment to die at."""
        folder = self.folder / of
        counting = (f"{of} calls", shared | {"folder": str(folder / "whole")})
        [(_, tally)] = list(pool.run(iter([counting])))
        self.tally.add(tally)
        if tally.answer is None:
            return iter(())
        calls = tally.answer["calls"]
        self.tally.counts[f"write calls of {'the loop' if of == 'loop' else 'opsin.train'}"] += len(
            calls
        )
        return iter(
            [
                (f"{of} point", shared | self._point(folder, number, moment, tally.answer))
                for number, moment in save_path.points(calls, share, self.seed)
            ]
        )

    def _point(
        self, folder: Path, number: int, moment: str, counted: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            "folder": str(folder / f"{number}-{moment}"),
            "point": [number, moment],
            "floor": save_path.floor(counted["calls"], number),
            "expected": counted["ending"],
        }

    def _commands(self) -> Iterator[Job]:
        number = 0
        while self.tally.counts["kills of the command"] < self.options.command:
            yield self._trial(number, f"command-{number}", kills=2, real=True)
            number += 1

    def _kills(self) -> Iterator[Job]:
        number = 0
        until = self.tally.counts["kills"] + self.options.kills
        while self.tally.counts["kills"] < until:
            kills = 10 if number % 12 == 5 else 2 + number % 2
            yield self._trial(number, f"trial-{number}", kills=kills, flip=number % 4 == 3)
            number += 1

    def _trial(self, number: int, name: str, *, kills: int, **more: Any) -> Job:
        # Not always the same rows where a few trials are all there is.
        row = self.rows[(number + self.seed) % len(self.rows)]
        known = self.references[row]
        reference = {key: known[key] for key in ("ending", "whole_s", "learning_s")}
        arguments = {
            "folder": str(self.folder / name),
            "pictures": self.pictures,
            "row": row,
            "seed": f"{self.seed} {name}",
            "kills": kills,
            "reference": reference | {"real_s": self._real_s},
        }
        return "trial", arguments | more


def say(text: str) -> None:
    """For people, on stderr."""
    print(text, file=sys.stderr, flush=True)
