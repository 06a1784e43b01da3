"""ResNet-50 at 224 px in bfloat16: opsin beside torchvision's and timm's training loops.

PYTHONPATH=src python3 benchmarks/on_accelerator.py --device cuda --out FILE

Needs nothing but the checkout and a Python that has torch, and runs each side in a process of its
own, in turn. A side that cannot run costs its lines, which say why. `--quick`: resnet18 at 32 px in
float32 and a few steps, on any device, to see that the script works.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import synthetic
from processes import Failed, run

HERE = Path(__file__).resolve().parent
OURS, THEIRS = HERE / "our_accelerator.py", HERE / "peers" / "accelerator.py"
FLOP = 3 * 2 * 4.09e9
"""Of ResNet-50 for a picture of 224 px that is learnt from: 4.09e9 multiply-adds forward (as
torchvision counts them), two operations each, and backward costs twice what forward does."""
SIDES = {
    "opsin, synthetic": (OURS, "synthetic"),
    "opsin with CUDA graphs, synthetic": (OURS, "graphs"),
    "torchvision, synthetic": (THEIRS, "torchvision"),
    "timm, synthetic": (THEIRS, "timm"),
    "opsin, stored": (OURS, "stored"),
    "opsin, stored and flipped": (OURS, "flipped"),
    "torchvision, stored": (THEIRS, "torchvision"),
    "timm, stored": (THEIRS, "timm"),
}


def measure(
    folder: Path,
    *,
    device: str = "cuda",
    quick: bool = False,
    rounds: int = 1,
    python: str = sys.executable,
    peers: str = sys.executable,
) -> dict[str, Any]:
    """What each side gave: `images_s`, and of the card `flop_s` and `name`; `failed`: why not.

    `folder`: for pictures and runs. `python`, `peers`: the interpreters of the two sides.
    """
    job: dict[str, Any] = {"device": device, "network": "resnet50", "size": 224, "batch": 256}
    job |= {"steps": 40, "epochs": 4, "precision": "bfloat16", "matrix": 8192, "pictures": 4096}
    if quick:
        job |= {"network": "resnet18", "size": 32, "batch": 8, "steps": 2, "epochs": 2}
        job |= {"precision": "float32", "matrix": 256, "pictures": 40}
    job["workers"] = 1 if quick else min(16, len(os.sched_getaffinity(0)))
    data = synthetic.write(folder / "pictures", job["pictures"], 10, 400)
    places = {"folder": str(folder), "data": str(data)}
    (folder / "job.json").write_text(json.dumps(job | places), "utf-8")
    found: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    card: dict[str, Any] = {}
    try:
        card = _said(python, OURS, "matrix", "", folder)
    except Failed as failure:
        failed["matrix rate"] = str(failure)
    for _ in range(rounds):
        for name, (script, what) in SIDES.items():
            if name in failed:
                continue
            who = python if script == OURS else peers
            try:
                said = _said(who, script, what, name.rpartition(", ")[2], folder)
                found.setdefault(name, []).append(said["images_s"])
            except Failed as failure:
                failed[name] = str(failure)
            print(f"{name}: {failed.get(name) or said}", file=sys.stderr, flush=True)
    images = {name: statistics.median(values) for name, values in found.items()}
    return {"job": job, "card": card, "images_s": images, "failed": failed}


def fraction(found: dict[str, Any], name: str) -> float | None:
    """The share of the card's matrix rate that a side turns into ResNet-50's own operations; None
    where it was another network, or the rate is not known.
    """
    if found["job"]["network"] != "resnet50" or not found["card"]:
        return None
    rate: float = found["images_s"][name] * FLOP / found["card"]["flop_s"]
    return rate


def _said(python: str, script: Path, what: str, pictures: str, folder: Path) -> dict[str, Any]:
    """The last line of a side's output."""
    words = [python, str(script), str(folder / "job.json"), what, pictures]
    # Each side runs in a folder of its own, where "src" would mean another one.
    places = [Path(each).absolute() for each in os.environ.get("PYTHONPATH", "").split(":") if each]
    environment = {"OPSIN_CACHE_DIR": str(folder / "cache")}
    environment |= {"PYTHONPATH": ":".join(map(str, places))} if places else {}
    ran = run(words, environment=environment, folder=folder)
    said: dict[str, Any] = json.loads(ran.output.strip().splitlines()[-1])
    return said


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, help="a JSON file for what was found")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="opsin-accelerator-") as folder:
        found = measure(
            Path(folder), device=options.device, quick=options.quick, rounds=options.rounds
        )
    found["fraction"] = {name: fraction(found, name) for name in found["images_s"]}
    text = json.dumps(found, indent=1)
    if options.out:
        options.out.write_text(text + "\n", "utf-8")
    print(text)


if __name__ == "__main__":
    main()
