"""Decode and resize: pictures a second on one core, with the error against Pillow.

The yardstick is Pillow's full decode and its one-pass bilinear resize. Every side is a process
bound to one core; the pictures are in the disk's cache.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from bench import Bench
from processes import PYTHON, Failed, run
from table import Line, Row

SIDES = {
    "Pillow": ("lightning", "pillow"),
    "torchvision": ("lightning", "torchvision"),
    "OpenCV": ("opencv", "opencv"),
}
GAPS = (None, 2.0, 1.5, 1.0)
TARGETS = {64: 2.0, 224: 1.0}
OURS = Path(__file__).parents[1] / "our_decoding.py"


def measure(bench: Bench, row: Row) -> None:
    """A line for each of our ways at each size, beside each of theirs."""
    data = bench.data("pizza_steak_sushi")
    files = sorted(data.rglob("*.jpg"))[: 40 if bench.quick else 200]
    listed = bench.work / "files.txt"
    listed.write_text("\n".join(map(str, files)), "utf-8")
    for size in TARGETS:
        commands = {name: _theirs(bench, name, listed, size) for name in SIDES}
        commands |= {_name(gap): _ours(bench, listed, size, gap) for gap in GAPS}
        rates, errors, failed = _interleaved(commands, bench.rounds, bench.work)
        for gap in GAPS:
            mine = _name(gap)
            for name in SIDES if gap is None else ("Pillow",):
                _add(row, size, mine, name, rates, errors, failed, gap)
    row.notes += [
        f"{len(files)} photos of up to 512 px from pizza_steak_sushi, one core (bound to it), "
        "stretched to a square.",
        "error: largest, mean difference of a level from Pillow's full decode and one-pass "
        "bilinear resize. Ours resizes along W, then along H, rounding between (the reference that "
        "loader, graph and server share); with a gap, JPEGs are decoded at 1/2, 1/4, 1/8 while "
        "they stay that much larger than needed. The default has no gap.",
    ]


def _name(gap: float | None) -> str:
    return "opsin, full" if gap is None else f"opsin, jpeg_gap {gap:g}"


def _theirs(bench: Bench, name: str, listed: Path, size: int) -> list[str]:
    environment, way = SIDES[name]
    try:
        command = bench.peer(environment, "decoding.py")
    except Failed as failure:
        return [str(failure)]
    return [*command, way, str(listed), str(size), str(bench.work / f"{way}-{size}.npy")]


def _ours(bench: Bench, listed: Path, size: int, gap: float | None) -> list[str]:
    pixels = bench.work / f"opsin-{gap}-{size}.npy"
    return [*PYTHON, str(OURS), str(gap or 0), str(listed), str(size), str(pixels)]


def _interleaved(
    commands: dict[str, list[str]], rounds: int, work: Path
) -> tuple[dict[str, float], dict[str, str], dict[str, str]]:
    rates: dict[str, list[float]] = {name: [] for name in commands}
    failed = {name: command[0] for name, command in commands.items() if len(command) == 1}
    for _ in range(rounds):
        for name, command in commands.items():
            if name in failed:
                continue
            try:
                ran = run(command, folder=work)
            except Failed as failure:
                failed[name] = str(failure)
                continue
            rates[name].append(json.loads(ran.output)["per_s"])
    errors = {}
    if "Pillow" not in failed:
        for name in set(commands) - set(failed):
            compare = [*PYTHON, str(OURS), "compare", commands["Pillow"][-1], commands[name][-1]]
            errors[name] = run(compare, folder=work).output.strip()
    medians = {name: statistics.median(values) for name, values in rates.items() if values}
    return medians, errors, failed


def _add(
    row: Row,
    size: int,
    mine: str,
    name: str,
    rates: dict[str, float],
    errors: dict[str, str],
    failed: dict[str, str],
    gap: float | None,
) -> None:
    figure = f"to {size} px, {mine}"
    if mine in failed or name in failed:
        row.lines.append(Line(figure, beside=name, failed=failed.get(mine) or failed[name]))
        return
    row.lines.append(
        Line(
            figure,
            f"{rates[mine]:.0f} /s",
            name,
            f"{rates[name]:.0f} /s",
            rates[mine] / rates[name],
            TARGETS[size] if name == "Pillow" else None,
            accuracy=f"error {errors[mine]} beside {errors[name]}" if errors else "",
        )
    )
