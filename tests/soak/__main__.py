"""Kill-proof, shown: `python -m tests.soak` kills trainings in every way there is, and compares.

One table at the end; exit 1 when anything failed or the time was too short for all of it.
"""

from __future__ import annotations

# ruff: noqa: E402
import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# A child is forked from a process of one thread; torch and its libraries read these at import.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

from tests.soak import flips, random_kills, save_path
from tests.soak.children import load_everything
from tests.soak.matrix import ROWS, SHARED, write_pictures
from tests.soak.pool import Job, Pool
from tests.soak.tally import Tally

FAILURES = ("differs", "unreadable", "refused", "flip not noticed", "broken")
WHOLE = "everything"
"""The row whose every write call is tried."""


def main() -> int:
    """The whole command."""
    options = _options()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    folder = Path(tempfile.mkdtemp(prefix="opsin-soak-", dir=options.folder))
    _say(f"seed {seed} (--seed {seed} repeats the draws), in {folder}")
    soak = Soak(options, seed, folder)
    try:
        soak.run()
    finally:
        if not soak.tally.failures:
            shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps({"counts": soak.tally.counts, "failures": soak.tally.failures}))
    else:
        print(soak.table())
    return 1 if soak.tally.failures else 0


class Soak:
    """All parts, one after the other, in a pool of processes."""

    def __init__(self, options: argparse.Namespace, seed: int, folder: Path) -> None:
        self.options = options
        self.seed = seed
        self.folder = folder
        self.pictures = write_pictures(folder / "pictures")
        self.tally = Tally()
        self.rows = [name for name in ROWS if not options.rows or name in options.rows.split(",")]
        self.references: dict[str, Any] = {}
        self.started = time.monotonic()
        self._told = 0.0

    def run(self) -> None:
        """Everything that was asked for, until the time is over."""
        options = self.options
        load_everything(self.folder, self._rehearsal)
        _say(f"everything is loaded after {self._minutes():.1f} min")
        work = {
            "reference": _reference,
            "flip": _flip,
            "tiny": _tiny,
            "tiny reference": _tiny_reference,
            "train": _train,
            "train reference": _train_reference,
            "trial": _trial,
        }
        pool = Pool(options.jobs, work)
        try:
            needs_rows = options.kills or options.command or options.flips
            if needs_rows:
                self._refer(pool)
            if options.flips:
                self._part(pool, "flips", self._flips())
            if options.points:
                self._part(pool, "points of the loop", self._tiny_points(pool))
            if options.train_points:
                self._part(pool, "points of opsin.train", self._train_points(pool))
            if options.command:
                self._part(pool, "kills of the command", self._commands())
            if options.kills:
                self._part(pool, "kills", self._kills())
        finally:
            pool.close()

    def table(self) -> str:
        """Counts, failures and medians."""
        counts, rows = self.tally.counts, []
        by_kind = {
            kind: sum(each.startswith(f"{kind}:") for each in self.tally.failures)
            for kind in (*FAILURES, "too slow")
        }
        rows += [(name, f"{counts[name]:,}") for name in counts]
        rows += [(name, _median(name, values)) for name, values in self.tally.samples.items()]
        rows += [(f"failures: {kind}", f"{count}") for kind, count in by_kind.items()]
        rows.append(("seed", str(self.seed)))
        rows.append(("minutes", f"{self._minutes():.1f}"))
        wide = max(len(name) for name, _ in rows)
        failures = "".join(f"\n{each}" for each in self.tally.failures[:20])
        return "\n".join(f"{name:<{wide}}  {value}" for name, value in rows) + failures

    def _minutes(self) -> float:
        return (time.monotonic() - self.started) / 60

    def _late(self) -> bool:
        return self._minutes() > self.options.minutes

    def _rehearsal(self) -> None:
        folder = self.folder / "rehearsal"
        settings = SHARED | ROWS[WHOLE] | {"project": folder, "epochs": 2}
        random_kills.training(self.pictures, settings)()
        from opsin import resume

        resume(folder / "run")
        save_path.run_tiny(folder / "tiny")

    def _refer(self, pool: Pool) -> None:
        jobs: list[Job] = [
            ("reference", {"folder": str(self.folder / "whole" / row), "row": row,
                           "pictures": str(self.pictures), "real": False})
            for row in self.rows
        ]  # fmt: skip
        if self.options.command:
            first = jobs[0][1]
            jobs.append(("reference", first | {"folder": f"{first['folder']} real", "real": True}))
        for (_, arguments), tally in pool.run(iter(jobs)):
            self.tally.add(tally)
            if tally.failures:
                continue
            found = tally.answer
            row = arguments["row"]
            if arguments["real"]:
                self.real_s = found["whole_s"]
                self._same(f"{row} by the command", found, self.references[row])
            else:
                self.references[row] = found
            _say(f"{row}: {found['whole_s']:.1f} s, {found['learning_s']:.1f} s of it learning")
        self.rows = [row for row in self.rows if row in self.references]
        plain = self.references.get("plain")
        for row in self.rows:
            idle = {"plain", "several bests"}
            if plain and row not in idle and self.references[row]["ending"] == plain["ending"]:
                self.tally.fail("broken", f"row {row} learns the same as plain")

    def _same(self, what: str, found: dict[str, Any], expected: dict[str, Any]) -> None:
        different = random_kills.differences(expected["ending"], found["ending"])
        if different:
            self.tally.fail("differs", f"{what}: {', '.join(different[:6])}")

    def _part(self, pool: Pool, count: str, jobs: Iterator[Job]) -> None:
        for _, tally in pool.run(jobs):
            self.tally.add(tally)
            for failure in tally.failures:
                _say(f"FAILED {failure}")
            if time.monotonic() - self._told > 10:
                self._told = time.monotonic()
                self._tell(count, f", {len(self.tally.failures)} failed")
        self._tell(count, " in all")

    def _tell(self, count: str, more: str) -> None:
        _say(f"{self._minutes():5.1f} min  {count}: {self.tally.counts[count]}{more}")

    def _in_time(self, jobs: Iterator[Job], what: str) -> Iterator[Job]:
        for job in jobs:
            if self._late():
                self.tally.fail("too slow", f"{what} were not all tried in --minutes")
                return
            yield job

    def _flips(self) -> Iterator[Job]:
        each = -(-self.options.flips // len(self.rows))
        for number, row in enumerate(self.rows):
            run = self.references[row]["run"]
            yield (
                "flip",
                {
                    "folder": str(self.folder / f"flips-{number}"),
                    "checkpoints": f"{run}/checkpoints",
                    "count": min(each, self.options.flips - number * each),
                    "seed": f"{self.seed} {row}",
                },
            )
        yield (
            "flip",
            {"folder": str(self.folder / "large"), "checkpoints": "", "count": 0, "seed": ""},
        )

    def _tiny_points(self, pool: Pool) -> Iterator[Job]:
        folder = self.folder / "tiny"
        found = self._counted(pool, ("tiny reference", {"folder": str(folder / "whole")}))
        if found is None:
            return iter(())
        self.tally.counts["write calls of the loop"] += len(found["calls"])
        tried = save_path.points(found["calls"], self.options.points, self.seed)
        return self._in_time(
            (
                ("tiny", {"folder": str(folder / f"{number}-{moment}"), "point": [number, moment],
                          "expected": found["ending"], "broken": self.options.broken})
                for number, moment in tried
            ),
            "points of the loop",
        )  # fmt: skip

    def _train_points(self, pool: Pool) -> Iterator[Job]:
        shared = {"pictures": str(self.pictures), "row": WHOLE}
        folder = self.folder / "calls"
        found = self._counted(pool, ("train reference", shared | {"folder": str(folder / "whole")}))
        if found is None:
            return iter(())
        self.tally.counts["write calls of opsin.train"] += len(found["calls"])
        tried = save_path.points(found["calls"], self.options.train_points, self.seed)
        return self._in_time(
            (
                ("train", shared | {"folder": str(folder / f"{number}-{moment}"),
                                    "point": [number, moment], "expected": found["ending"]})
                for number, moment in tried
            ),
            "points of opsin.train",
        )  # fmt: skip

    def _counted(self, pool: Pool, job: Job) -> Any:
        [(_, tally)] = list(pool.run(iter([job])))
        self.tally.add(tally)
        return None if tally.failures else tally.answer

    def _commands(self) -> Iterator[Job]:
        def jobs() -> Iterator[Job]:
            number = 0
            while self.tally.counts["kills of the command"] < self.options.command:
                yield self._trial(number, f"command-{number}", kills=2, real=True)
                number += 1

        return self._in_time(jobs(), "kills of the command")

    def _kills(self) -> Iterator[Job]:
        def jobs() -> Iterator[Job]:
            number = 0
            while self.tally.counts["kills"] < self.options.kills:
                kills = 10 if number % 12 == 5 and self.options.kills > 20 else 2 + number % 2
                yield self._trial(number, f"trial-{number}", kills=kills, flip=number % 4 == 3)
                number += 1

        return self._in_time(jobs(), "kills")

    def _trial(self, number: int, name: str, *, kills: int, **more: Any) -> Job:
        # Not always the same rows where a few trials are all there is.
        row = self.rows[(number + self.seed) % len(self.rows)]
        known = self.references[row]
        reference = {name: known[name] for name in ("ending", "whole_s", "learning_s")}
        return "trial", {
            "folder": str(self.folder / name),
            "pictures": str(self.pictures),
            "row": row,
            "seed": f"{self.seed} {name}",
            "kills": kills,
            "reference": reference | {"real_s": getattr(self, "real_s", known["whole_s"])},
            **more,
        }


def _reference(folder: str, pictures: str, row: str, real: bool) -> Tally:
    tally = Tally()
    tally.answer = random_kills.reference(Path(folder), Path(pictures), row, real=real)
    return tally


def _flip(folder: str, checkpoints: str, count: int, seed: str) -> Tally:
    if not checkpoints:
        return flips.read_large(Path(folder), 100)
    return flips.flip_bits(Path(folder), Path(checkpoints), count, seed)


def _tiny_reference(folder: str) -> Tally:
    tally = Tally()
    place = Path(folder)
    calls, wrong = save_path.count_calls(place, lambda: save_path.run_tiny(place))
    tally.failures += wrong
    if not wrong:
        ending = save_path.checkpoints_ending(place / "checkpoints")
        tally.answer = {"calls": calls, "ending": ending}
    return tally


def _tiny(folder: str, point: list[Any], expected: dict[str, str], broken: bool) -> Tally:
    return save_path.try_tiny(Path(folder), (point[0], point[1]), expected, broken=broken)


def _train_reference(folder: str, pictures: str, row: str) -> Tally:
    tally = Tally()
    place = Path(folder)
    settings = save_path.settings_of(row, place)
    calls, wrong = save_path.count_calls(place, random_kills.training(Path(pictures), settings))
    tally.failures += wrong
    run = random_kills.run_in(place)
    if not wrong and run:
        tally.answer = {"calls": calls, "ending": random_kills.ending(run)}
    return tally


def _train(
    folder: str, pictures: str, row: str, point: list[Any], expected: dict[str, str]
) -> Tally:
    place = Path(folder)
    return save_path.try_train(place, Path(pictures), row, (point[0], point[1]), expected)


def _trial(folder: str, pictures: str, **more: Any) -> Tally:
    return random_kills.Trial(Path(folder), Path(pictures), **more).run()


def _median(name: str, values: list[float]) -> str:
    if not values:
        return "nothing measured"
    if name == "size":
        return f"{statistics.median(values) / 1e3:,.0f} kB (median of {len(values)} checkpoints)"
    middle = statistics.median(values)
    text = f"{middle:.2f} s" if middle > 0.5 else f"{middle * 1e3:.2f} ms"
    return f"{text} (median of {len(values)}, longest {max(values):.2f} s)"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="random SIGKILLs [200]")
    parser.add_argument("--command", type=int, default=20, help="more, of the real command [20]")
    parser.add_argument("--flips", type=int, default=2000, help="bits turned over [2000]")
    parser.add_argument("--points", type=float, default=1.0, help="share of the loop's calls [1]")
    parser.add_argument("--train-points", type=float, default=1.0, help="... of opsin.train's [1]")
    parser.add_argument("--minutes", type=float, default=20, help="begin nothing after these [20]")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time [2]")
    parser.add_argument("--seed", type=int, help="of what is drawn; else a new one")
    parser.add_argument("--rows", default="", help="of the matrix, with commas; else all")
    parser.add_argument("--folder", type=Path, help="where to work; else the system's own place")
    parser.add_argument("--json", action="store_true", help="counts and failures as JSON")
    # For the test of this harness: a save that is not atomic must not pass.
    parser.add_argument("--broken", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
