"""Opsin beside the loops people write: one table, in `docs/benchmarks.md`.

python benchmarks/peers.py [ROW ...] [--rounds N] [--quick] [--list] [--peers DIR] [--docs DIR]

Rows measured now replace their former selves in `docs/benchmarks.json`; the others stay.
"""

from __future__ import annotations

import argparse
import datetime
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from bench import SHARED, Bench
from environments import default_folder
from machine import load, machine
from processes import Failed
from rows.listed import ROWS
from table import Line, Row, read, show, write

DOCS = Path(__file__).resolve().parents[1] / "docs"


def main() -> int:
    """Measure the rows asked for, one after the other; 1 when one of them failed as a whole."""
    options = _options()
    if options.list:
        for name, entry in ROWS.items():
            print(f"{name:12} {entry.title}")
        return 0
    results, page = options.docs / "benchmarks.json", options.docs / "benchmarks.md"
    failures = 0
    for name in options.rows or ROWS:
        work = Path(tempfile.mkdtemp(prefix=f"opsin-bench-{name}-"))
        bench = Bench(
            work,
            options.peers.absolute(),
            options.shared.absolute(),
            options.docs.absolute(),
            options.rounds,
            options.quick,
        )
        try:
            row = _measured(name, bench)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        failures += any(line.failed and not line.beside for line in row.lines)
        print(show(row), end="\n\n", flush=True)
        if not options.quick:  # what a quick look gives is no figure
            rows = {**read(results), name: row}
            write({known: rows[known] for known in ROWS if known in rows}, results, page)
    return 1 if failures else 0


def _measured(name: str, bench: Bench) -> Row:
    row = Row(name, ROWS[name].title)
    row.measured = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    row.rounds = f"{bench.rounds} rounds" if bench.rounds != 1 else "1 round"
    row.load, row.machine = load(), machine()
    print(f"measuring {name}", file=sys.stderr, flush=True)
    started = time.perf_counter()
    try:
        ROWS[name].measure(bench, row)
    except Failed as failure:
        row.lines.append(Line("not measured", failed=str(failure)))
    except Exception as error:  # one broken row must not cost the others
        traceback.print_exc()
        row.lines.append(Line("not measured", failed=f"{type(error).__name__}: {error}"))
    row.took_s = time.perf_counter() - started
    return row


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; else all")
    parser.add_argument("--rounds", type=int, default=3, help="each with its own seed")
    parser.add_argument("--quick", action="store_true", help="see that it works; writes nothing")
    parser.add_argument("--list", action="store_true", help="the rows, and no more")
    parser.add_argument(
        "--peers", type=Path, default=default_folder(), help="where their environments are kept"
    )
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder with data and weights")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the table goes")
    options = parser.parse_args()
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
