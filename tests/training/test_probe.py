"""The choice of machine settings, by a clock that is told what each one takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from opsin.api.running.timings import faults_where
from opsin.core.allocator import HELD
from opsin.training.probe import Choice, apply, has_layouts, lay_out, probe, timing_from

DEFAULT = Choice(2, "channels_last", "float32")
PLAIN = Choice(2, "contiguous", "float32")


class Machine:
    """Every step takes what `seconds` says of its choice; the first of each ten times that."""

    def __init__(self, **seconds: float) -> None:
        self.seconds = seconds
        self.now = 0.0
        self.ran: list[Choice] = []

    def __call__(self) -> float:
        return self.now

    def run(self, choice: Choice) -> None:
        name = f"{choice.layout[0:2]}{choice.threads}{choice.precision[0]}"
        self.now += self.seconds[name] * (1 if choice in self.ran else 10)
        self.ran.append(choice)

    def probe(self, limit: float = 1e9, **more: object) -> list[Choice]:
        options = {"layouts": ("contiguous", "channels_last"), "threads": (1,), **more}
        found = probe(DEFAULT, self.run, limit=lambda step_s: limit, clock=self, **options)  # type: ignore[arg-type]
        for each in found:
            name = f"{each.choice.layout[0:2]}{each.choice.threads}{each.choice.precision[0]}"
            assert each.step_s == pytest.approx(self.seconds[name])
        return [each.choice for each in found]


def test_the_fastest_is_chosen() -> None:
    assert Machine(ch2f=1.0, co2f=0.5, co1f=0.9).probe()[0] == PLAIN
    assert Machine(ch2f=1.0, co2f=2.0, ch1f=0.6).probe()[0] == Choice(1, "channels_last", "float32")
    quick = Machine(ch2f=1.0, co2f=2.0, ch2b=0.4, co2b=0.8, ch1b=0.9)
    found = quick.probe(precisions=("float32", "bfloat16"))
    assert found[0] == Choice(2, "channels_last", "bfloat16")


def test_the_default_stays_unless_another_is_clearly_faster() -> None:
    assert Machine(ch2f=1.0, co2f=0.96, ch1f=0.97).probe()[0] == DEFAULT
    assert Machine(ch2f=1.0, co2f=0.94, co1f=0.97).probe()[0] == PLAIN


def test_what_is_hopeless_gets_one_timed_step() -> None:
    machine = Machine(ch2f=1.0, co2f=0.9, co1f=1.7)
    machine.probe()
    ran = [machine.ran.count(each) for each in (DEFAULT, PLAIN, Choice(1, "contiguous", "float32"))]
    # One warm-up each; the winner is timed on beside the next ones.
    assert ran[2] == 2
    assert ran[0] == 1 + 1 + 3


def test_a_limit_is_kept_and_what_was_timed_once_is_not_chosen() -> None:
    machine = Machine(ch2f=1.0, co2f=0.1, ch1f=0.1, co1f=0.1)
    assert machine.probe(limit=12.0)[0] == DEFAULT
    assert machine.now <= 12.0
    assert set(machine.ran) == {DEFAULT}


def test_what_is_not_asked_is_not_tried() -> None:
    machine = Machine(ch2f=1.0)
    assert machine.probe(layouts=(), threads=()) == [DEFAULT]
    assert len(machine.ran) == 2


def test_steps_that_wait_for_memory_do_not_count() -> None:
    """The first timed steps of a process may be twice as long as those that follow."""
    now, pages = [0.0], [0]
    waits = iter([(10.0, 100_000), (2.0, 12_000), (1.5, 3_000), (1.0, 3), (9.0, 9)])

    def run(choice: Choice) -> None:
        seconds, given = next(waits)
        now[0] += seconds
        pages[0] += given

    def found(faults: Callable[[], int]) -> float:
        timings = probe(DEFAULT, run, limit=lambda step_s: 0.0, clock=lambda: now[0], faults=faults)
        assert [each.times for each in timings] == [1]
        return timings[0].step_s

    assert found(lambda: pages[0]) == 1.0
    waits = iter([(10.0, 0), (2.0, 0)])
    assert found(lambda: pages[0]) == 2.0
    waits = iter([(4.0, 9_000), (3.0, 9_000), (2.5, 9_000), (2.25, 9_000), (1.0, 0)])
    assert found(lambda: pages[0]) == 2.25, "no longer than three times"
    waits = iter([(4.0, 9_000), (3.0, 9_000), (1.0, 0)])
    assert found(lambda: 0) == 3.0, "where memory is not held nothing will be different later"


def test_where_faults_count() -> None:
    before = faults_where(HELD)()
    held = bytearray(1 << 26)
    held[:: 1 << 12] = b"x" * (1 << 14)
    assert faults_where(HELD)() > before
    assert faults_where("memory as usual")() == 0


def test_timings_survive_json() -> None:
    timing = probe(DEFAULT, lambda choice: None, limit=lambda step_s: 0.0)[0]
    assert timing_from(timing.to_dict()) == timing


def test_layouts_change_no_value() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 2))
    inputs = torch.randn(4, 3, 8, 8)
    before, said = [each.clone() for each in model.parameters()], model(inputs)
    assert has_layouts(model)
    assert not has_layouts(model[2])
    apply(Choice(1, "channels_last", "float32"), model)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    torch.testing.assert_close(model(inputs), said)
    lay_out(model, "contiguous")
    assert model[0].weight.is_contiguous()
