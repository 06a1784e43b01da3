"""Which options of onnxruntime answer soonest: the figures behind `opsin/bundle/session.py`.

python benchmarks/session_options.py BUNDLE [--rounds 5] [--busy 1]

Each choice has a session of its own, one alive at a time, since a pool that spins disturbs the
others. `--busy N`: N processes that only compute run meanwhile.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from processes import PYTHON

from opsin.bundle.load import load_bundle
from opsin.core.cores import usable_cores

SPINNING, SPIN_US = "session.intra_op.allow_spinning", "session.intra_op.spin_duration_us"
CORES = usable_cores()
CHOICES: dict[str, dict[str, Any]] = {
    "onnxruntime's own": {},
    "1 thread": {"intra": 1},
    "all cores, spinning": {"intra": CORES},
    "all cores, spinning 50 us": {"intra": CORES, SPINNING: "1", SPIN_US: "50"},
    "all cores, spinning 500 us": {"intra": CORES, SPINNING: "1", SPIN_US: "500"},
    "all cores, not spinning": {"intra": CORES, SPINNING: "0"},
    "... smaller pieces": {"intra": CORES, SPINNING: "0", "session.dynamic_block_base": "4"},
    "... no arena": {"intra": CORES, SPINNING: "0", "arena": False},
    "... no memory pattern": {"intra": CORES, SPINNING: "0", "pattern": False},
    "... branches in parallel": {"intra": CORES, SPINNING: "0", "parallel": True},
    "... optimisation extended": {"intra": CORES, SPINNING: "0", "level": "EXTENDED"},
    "... denormals as zero": {"intra": CORES, SPINNING: "0", "session.set_denormal_as_zero": "1"},
}
CALLS = {1: 40, 8: 8, 32: 3}


def main() -> None:
    """Measure and print a table for each size of batch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--busy", type=int, default=0)
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    graph, (height, width) = bundle.graph.read_bytes(), bundle.spec.prepared_px
    busy = [subprocess.Popen([*PYTHON, "-c", "while True: pass"]) for _ in range(options.busy)]
    try:
        for size, calls in CALLS.items():
            images = np.random.default_rng(0).integers(0, 256, (size, 3, height, width), np.uint8)
            found: dict[str, list[float]] = {name: [] for name in CHOICES}
            for _ in range(options.rounds):
                for name, choice in CHOICES.items():
                    found[name] += milliseconds(graph, choice, images, calls)
            print(f"batch {size}, load {os.getloadavg()[0]:.1f}   median ms   95th percentile")
            for name, values in found.items():
                late = statistics.quantiles(values, n=20)[-1]
                print(f"  {name:30} {statistics.median(values):10.2f} {late:12.2f}", flush=True)
    finally:
        for process in busy:
            process.kill()
            process.wait()


def milliseconds(
    graph: bytes, choice: dict[str, Any], images: np.ndarray, calls: int
) -> list[float]:
    """Of each call of a new session, two to warm up left out."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = choice.get("intra", 0)
    options.inter_op_num_threads = CORES if choice.get("parallel") else 1
    if choice.get("parallel"):
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    options.enable_cpu_mem_arena = choice.get("arena", True)
    options.enable_mem_pattern = choice.get("pattern", True)
    level = f"ORT_ENABLE_{choice.get('level', 'ALL')}"
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    for name, value in choice.items():
        if name.startswith("session."):
            options.add_session_config_entry(name, value)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    asked = {session.get_inputs()[0].name: images}
    taken = []
    for _ in range(calls + 2):
        started = time.perf_counter()
        session.run(None, asked)
        taken.append((time.perf_counter() - started) * 1e3)
    return taken[2:]


if __name__ == "__main__":
    main()
