"""ResNet-50 at 224 px on an accelerator, where this machine has one."""

from __future__ import annotations

from bench import Bench
from environments import versions_of
from on_accelerator import FLOP, SIDES, fraction
from on_accelerator import measure as measure_sides
from processes import PYTHON, run
from table import Line, Row


def measure(bench: Bench, row: Row) -> None:
    """A line for each of ours beside each peer, on the same pictures; without CUDA it says so."""
    asked = "import torch; print(torch.cuda.is_available())"
    there = run([*PYTHON, "-c", asked]).output.strip() == "True"
    if not there:
        why = "no accelerator was lent"
        row.lines.append(Line("training step", beside="timm, torchvision", failed=why))
        return
    peers = bench.peer("lightning", "accelerator.py")[0]
    found = measure_sides(bench.work, quick=bench.quick, rounds=bench.rounds, peers=peers)
    rates, failed = found["images_s"], found["failed"]
    for ours in (name for name in SIDES if name.startswith("opsin")):
        source = ours.rpartition(", ")[2].partition(" ")[0]
        figure = f"pictures a second, {ours.removeprefix('opsin').lstrip(' ,')}"
        for peer in ("torchvision", "timm"):
            theirs = f"{peer}, {source}"
            why = failed.get(ours) or failed.get(theirs, "")
            if why:
                row.lines.append(Line(figure, beside=peer, failed=why))
                continue
            one, other = rates[ours], rates[theirs]
            row.lines.append(Line(figure, f"{one:.0f}", peer, f"{other:.0f}", one / other))
        share = fraction(found, ours) if ours in rates else None
        if share is not None:
            row.notes.append(f"{ours}: {share:.1%} of the card's matrix rate.")
    card = found["card"]
    if card:
        side = found["job"]["matrix"]
        row.notes.append(
            f"{card['name']}: {card['flop_s'] / 1e12:.0f} TFLOP/s in a bfloat16 product of "
            f"{side} x {side} matrices, the median of 20; a picture learnt from counts as "
            f"3 x 2 x 4.09e9 = {FLOP:.4g} operations."
        )
    row.notes.append(f"theirs: {versions_of('lightning')}.")
    row.notes.append(
        "batch 256, bfloat16 by autocast, channels last, SGD. Synthetic: one batch that is there "
        "already, the median of 40 steps. Stored: 4,096 JPEGs of 400 px, whole epochs but the "
        "first, validation left out; ours is `opsin.train` with its store, the pictures as they "
        "are or flipped; theirs decodes, crops and flips in workers that stay."
    )
