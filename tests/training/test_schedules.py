"""Schedules against torch's own schedulers and the papers' formulas."""

from __future__ import annotations

import importlib.util
import math
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch

from opsin.core.errors import WrongUsage
from opsin.training.schedules import SCHEDULES, make_schedule

STEPS = 120
DOCS = Path(__file__).parents[2] / "docs"


def ours(name: str, **options: float) -> list[float]:
    schedule = make_schedule(name, **options)
    return [schedule(step / STEPS) for step in range(STEPS)]


def theirs(make: object) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)  # type: ignore[operator]
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("constant", lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda _: 1.0)),
        ("step", lambda o: torch.optim.lr_scheduler.StepLR(o, STEPS // 4, 0.1)),
        ("multi_step", lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [60, 90], 0.1)),
        ("exponential", lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.01 ** (1 / STEPS))),
        ("polynomial", lambda o: torch.optim.lr_scheduler.PolynomialLR(o, STEPS, 1.0)),
        ("cosine", lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, STEPS)),
        (
            "cyclical",
            lambda o: torch.optim.lr_scheduler.CyclicLR(
                o, 0.1, 1.0, step_size_up=STEPS // 8, cycle_momentum=False
            ),
        ),
    ],
)
def test_equals_torch(name: str, make: object) -> None:
    assert ours(name) == pytest.approx(theirs(make), abs=1e-6)


def test_one_cycle_equals_torch() -> None:
    """Torch reaches the end at its last step, we one step later."""
    rates = theirs(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, 1.0, total_steps=STEPS + 1, pct_start=0.3, cycle_momentum=False
        )
    )
    schedule = make_schedule("one_cycle", rise=(0.3 * (STEPS + 1) - 1) / STEPS)
    assert [schedule(s / STEPS) for s in range(STEPS)] == pytest.approx(rates, abs=1e-6)


def test_restarts_equal_torch_where_peaks_do_not_shrink() -> None:
    rates = theirs(
        lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=STEPS // 3)
    )
    assert ours("cosine_restarts", shrink=1.0) == pytest.approx(rates, abs=1e-6)
    shrinking = ours("cosine_restarts")
    assert [shrinking[n] for n in (0, 40, 80)] == pytest.approx([1, 0.5, 0.25])


def test_slanted_triangular_is_equation_3() -> None:
    cut, ratio = STEPS * 0.1, 32
    for t, rate in enumerate(ours("slanted_triangular")):
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / 0.1 - 1))
        assert rate == pytest.approx((1 + p * (ratio - 1)) / ratio)


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_contract(name: str) -> None:
    """Every schedule stays in [0, 1] over [0, 1], with and without warm-up, and reaches 1."""
    for warmup in (0.0, 0.2):
        schedule = make_schedule(name, warmup=warmup)
        values = [schedule(n / 1000) for n in range(1001)]
        assert all(math.isfinite(v) and -1e-9 <= v <= 1 + 1e-9 for v in values)
        assert max(values) == pytest.approx(1, abs=1e-3)
        if warmup:
            assert values[0] == 0
            assert values[100] == pytest.approx(values[200] / 2)


def test_unknown_schedule() -> None:
    with pytest.raises(WrongUsage, match='did you mean "cosine"'):
        make_schedule("cosinus")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_schedules", DOCS / "draw_schedules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def path_of(svg: str, name: str) -> list[tuple[float, float]]:
    """The points of the path in the group called `name`."""
    found = re.search(rf'<g id="{re.escape(name)}">\s*<path d="([^"]*)"', svg)
    assert found, f"{name} is not in the picture"
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", found[1])]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def test_the_picture_in_the_docs_shows_every_schedule_as_it_is(script: ModuleType) -> None:
    svg = (DOCS / "schedules.svg").read_text(encoding="utf-8")
    panels = script.curves()
    assert set(SCHEDULES) < set(panels)
    (left, right), (low, high) = script.X_LIMITS, script.Y_LIMITS
    for name, schedule in panels.items():
        frame, curve = path_of(svg, f"frame-{name}"), path_of(svg, f"curve-{name}")
        x0, x1 = min(x for x, _ in frame), max(x for x, _ in frame)
        bottom, top = max(y for _, y in frame), min(y for _, y in frame)
        assert len(curve) == script.POINTS + 1
        for n, (x, y) in enumerate(curve):
            progress = n / script.POINTS
            assert left + (right - left) * (x - x0) / (x1 - x0) == pytest.approx(progress, abs=1e-3)
            share = low + (high - low) * (bottom - y) / (bottom - top)
            assert share == pytest.approx(schedule(progress), abs=1e-3), (name, progress)


def test_the_script_draws_the_picture_in_the_docs(script: ModuleType) -> None:
    committed, drawn = (DOCS / "schedules.svg").read_text(encoding="utf-8"), script.svg()
    assert drawn == script.svg()
    for name in script.curves():
        for a, b in zip(
            path_of(drawn, f"curve-{name}"), path_of(committed, f"curve-{name}"), strict=True
        ):
            assert a == pytest.approx(b, abs=0.05)


def test_the_docs_list_every_schedule_and_no_other() -> None:
    text = (DOCS / "schedules.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(SCHEDULES)
