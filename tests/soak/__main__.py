"""Kill-proof, shown: `python -m tests.soak` kills trainings in every way there is, and compares.

One table at the end; exit 1 when anything failed or the time was too short for all of it.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

# A child is forked from a process of one thread; torch and its libraries read these at import.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

from tests.soak.parts import Soak, say

from opsin.core.version import code_hash

FAILURES = ("differs", "unreadable", "refused", "flip not noticed", "broken", "too slow")


def main() -> int:
    """The whole command."""
    options = _options()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    folder = Path(tempfile.mkdtemp(prefix="opsin-soak-", dir=options.folder))
    say(f"seed {seed} (--seed {seed} repeats the draws), in {folder}")
    code = code_hash()
    soak = Soak(options, seed, folder)
    soak.run()
    tally = soak.tally
    if code_hash() != code:
        tally.fail("broken", "opsin's own files were changed meanwhile; what differs may be theirs")
    if not tally.failures:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps({"seed": seed, "counts": tally.counts, "failures": tally.failures}))
    else:
        print(table(soak))
    return 1 if tally.failures else 0


def table(soak: Soak) -> str:
    """Counts, medians and failures."""
    tally = soak.tally
    kinds = {kind: sum(f.startswith(f"{kind}:") for f in tally.failures) for kind in FAILURES}
    rows = [(name, f"{count:,}") for name, count in sorted(tally.counts.items())]
    rows += [(name, middle(name, values)) for name, values in sorted(tally.samples.items())]
    rows += [(f"failures: {kind}", str(count)) for kind, count in kinds.items()]
    rows += [("seed", str(soak.seed)), ("minutes", f"{soak.minutes:.1f}")]
    wide = max(len(name) for name, _ in rows)
    return "\n".join(
        [f"{name:<{wide}}  {value}" for name, value in rows]
        + [failure[:2000] for failure in tally.failures[:20]]
    )


def middle(name: str, values: list[float]) -> str:
    """The median of seconds, or of bytes where the name says size.

    >>> middle("reading", [0.2, 0.1, 0.3]), middle("size", [1e4])
    ('200.0 ms (median of 3, longest 300.0 ms)', '10 kB (median of 1)')
    """
    median = statistics.median(values)
    if name.startswith("size"):
        return f"{median / 1e3:,.0f} kB (median of {len(values)})"
    return f"{median * 1e3:.1f} ms (median of {len(values)}, longest {max(values) * 1e3:.1f} ms)"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="random SIGKILLs [200]")
    parser.add_argument("--command", type=int, default=20, help="more, of the real command [20]")
    parser.add_argument("--flips", type=int, default=2000, help="bits turned over [2000]")
    parser.add_argument("--large", type=int, default=100, help="MB of one that is read [100]")
    parser.add_argument("--points", type=float, default=1.0, help="share of the loop's calls [1]")
    parser.add_argument(
        "--train-points", type=float, default=0.3, help="... of opsin.train's [0.3]"
    )
    parser.add_argument("--minutes", type=float, default=20, help="begin nothing after these [20]")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time [2]")
    parser.add_argument("--seed", type=int, help="of what is drawn; else a new one")
    parser.add_argument("--rows", default="", help="of the matrix, with commas; else all")
    parser.add_argument("--folder", type=Path, help="where to work; else the system's own place")
    parser.add_argument("--json", action="store_true", help="counts and failures as JSON")
    # For the test of this harness: a save that is not atomic must not pass.
    parser.add_argument("--broken", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
