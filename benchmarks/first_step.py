"""From the start of a process to the first training step, beside torch's own import.

python benchmarks/first_step.py [--rounds 5] [--data FOLDER]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from processes import PYTHON, interleaved

from opsin.testing.digits import write_digits

FIRST_STEP = """
import os, sys
from opsin.core.allocator import prepare_environment
prepare_environment()
import opsin
from opsin.training.callback import Callback


class Leave(Callback):
    def on_batch_end(self, end):
        os._exit(0)


opsin.train(sys.argv[1], project=sys.argv[2], callbacks=[Leave()], epochs=1)
"""
MOST = 12


def main() -> None:
    """Measure and print two tables: seconds, and what is imported."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, help="class folders; else some digits are written")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        os.environ["OPSIN_CACHE_DIR"] = str(here / "cache")
        data = options.data or write_digits(here / "digits", per_class=20)
        step = [*PYTHON, "-c", FIRST_STEP, str(data), str(here / "runs")]
        commands = {
            # Both leave without unloading torch, which takes half as long as loading it.
            "import torch": [*PYTHON, "-c", "import os, torch; os._exit(0)"],
            "opsin.train to its first step": step,
        }
        results = interleaved(commands, options.rounds)
        base = results["import torch"].seconds
        print(f"{'whole process, median of ' + str(options.rounds):32} wall s   ratio   peak MB")
        for name, result in results.items():
            ratio = result.seconds / base
            print(f"{name:32} {result.seconds:6.3f} {ratio:7.2f} {result.megabytes:9.0f}")
        traced = [step[0], "-X", "importtime", *step[1:]]
        said = subprocess.run(traced, capture_output=True, text=True, check=True).stderr
    print("\nimports, by what takes the longest   own ms   modules")
    spent: Counter[str] = Counter()
    count: Counter[str] = Counter()
    for line in said.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and parts[0].strip().isdigit():
            package = parts[2].strip().partition(".")[0]
            spent[package] += int(parts[0])
            count[package] += 1
    for package, microseconds in spent.most_common(MOST):
        print(f"{package:36} {microseconds / 1e3:7.0f} {count[package]:9}")


if __name__ == "__main__":
    main()
