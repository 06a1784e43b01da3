"""Steps as CUDA graphs: which calls are replayed, and that nothing else is different. A recorder of
the tests stands for the card's; what the card itself does is tested where there is one.
"""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.training.recorder import Recorder
from torch import nn

from opsin.core.batch import Batch
from opsin.core.micro_batch import MicroBatch
from opsin.tasks.classification import Classification
from opsin.training.determinism import seed_draws
from opsin.training.graphs import Comparison, GraphedForward, compare
from opsin.training.optim import make_optimizer
from opsin.training.precision import Precision
from opsin.training.processes import ALONE
from opsin.training.step import Moment
from opsin.training.supervised import SupervisedStep
from opsin.training.untouched import untouched

CPU = torch.device("cpu")
SHAPE = (6, 3, 8, 8)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(4 * 36, 3),
    )


def make(graphs: GraphedForward | None, device: torch.device = CPU, **more: Any) -> SupervisedStep:
    model = network().to(device)
    optimizer = make_optimizer("adam", model.parameters(), lr=1e-2)
    task = Classification(("a", "b", "c"))
    step = SupervisedStep(model, task, optimizer, graphs=graphs, **more)
    step.begin(device, ALONE)
    step.learn_mode()
    return step


def batch(count: int, seed: int = 0, device: torch.device = CPU) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.rand(count, *SHAPE[1:], generator=draw)
    labels = torch.randint(0, 3, (count,), generator=draw)
    return Batch(inputs, labels, tuple(map(str, range(count)))).to(device)


def learn(step: SupervisedStep, sizes: list[int], device: torch.device = CPU) -> list[Any]:
    """The losses of some steps, kept as they came: they must not change later."""
    found = []
    for number, count in enumerate(sizes):
        seed_draws(number, device)
        moment = Moment(1, number + 1, len(sizes), 1e-2, count, number)
        values = step.learn(batch(count, number, device), moment, lambda optimizer, loss: None)
        found.append(values["loss"])
    return found


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_full_batches_are_replayed_and_the_bits_stay(precision: Any) -> None:
    recorder = Recorder()
    sizes = [6, 6, 4, 6, 7]
    plain = make(None, precision=Precision(precision, CPU))
    graphs = GraphedForward(SHAPE, capture=recorder)
    over = make(graphs, precision=Precision(precision, CPU))
    assert (recorder.warm, graphs.recorded) == (3, True)
    assert same(plain.module, over.module), "recording leaves buffers as they were"
    for one, other in zip(learn(plain, sizes), learn(over, sizes), strict=True):
        assert torch.equal(one, other)
    assert recorder.calls == 3
    assert same(plain.module, over.module)


def test_recording_leaves_modes_and_generators() -> None:
    model = network()
    model[1].eval()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    graphs = GraphedForward(SHAPE, capture=Recorder())
    graphs.record(model, Precision("float32", CPU), CPU)
    assert torch.equal(before, torch.get_rng_state())
    assert [part.training for part in model[:2]] == [True, False]


def test_dropped_graphs_are_gone_at_once() -> None:
    """What torch records refers to itself, and would wait for the collector."""

    class Recorded:
        def __init__(self) -> None:
            self.run = lambda inputs: self and inputs

    made = []

    def capture(module: nn.Module, sample: Any, **more: Any) -> Any:
        recorded = Recorded()
        made.append(weakref.ref(recorded))
        return recorded.run

    graphs = GraphedForward(SHAPE, capture=capture)
    gc.disable()
    try:
        graphs.record(network(), Precision("float32", CPU), CPU)
        assert graphs.recorded
        assert made[0]() is not None
        graphs.drop()
        assert made[0]() is None
    finally:
        gc.enable()


def test_evaluation_is_never_replayed() -> None:
    recorder = Recorder()
    step = make(GraphedForward(SHAPE, capture=recorder))
    step.evaluate_mode()
    with torch.no_grad():
        step.evaluate(batch(6), step.meter([]))
    assert recorder.calls == 0


def test_parts_are_not_replayed_and_their_memory_is_given_back() -> None:
    recorder, said = Recorder(), list[str]()
    graphs = GraphedForward(SHAPE, capture=recorder)
    learn(make(graphs, micro=MicroBatch(2)), [6, 6])
    assert recorder.calls == 0
    graphs = GraphedForward(SHAPE, capture=recorder)
    step = make(graphs, micro=MicroBatch(say=said.append))
    run, full = graphs._run, [True]

    def short(inputs: torch.Tensor) -> Any:
        if full.pop():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(inputs) if run else None

    graphs._run = short
    learn(step, [6])
    assert said[0].startswith("out of memory: 6 samples at once")
    assert step.graphs is None


@pytest.mark.parametrize(
    ("change", "keeps"),
    [
        (lambda model: None, True),
        (lambda model: model[0].weight.data.add_(1), True),
        (lambda model: setattr(model[0].weight, "data", model[0].weight.data.clone()), False),
        (lambda model: model[1].register_buffer("running_mean", torch.zeros(4)), False),
        (lambda model: model[5].register_forward_hook(lambda *args: None), False),
        (lambda model: model[5].register_full_backward_hook(lambda *args: None), False),
    ],
    ids=["nothing", "values", "another tensor", "another buffer", "a hook", "a backward hook"],
)
def test_a_module_that_was_changed_is_called_itself(
    change: Callable[[Any], object], keeps: bool
) -> None:
    recorder, said = Recorder(), list[str]()
    graphs = GraphedForward(SHAPE, capture=recorder, say=said.append)
    step = make(graphs)
    change(step.module)
    learn(step, [6])
    assert (recorder.calls, graphs.recorded) == (int(keeps), keeps)
    changed = "CUDA graphs are not used any more: the module was changed"
    assert said == ([] if keeps else [changed])


def test_what_cannot_be_recorded_is_said_and_learns_as_ever() -> None:
    said: list[str] = []
    graphs = GraphedForward(
        SHAPE, capture=Recorder(fails="operation not permitted"), say=said.append
    )
    plain, over = make(None), make(graphs)
    assert said == ["CUDA graphs are not used: operation not permitted"]
    assert torch.equal(torch.cat(learn(plain, [6, 6])), torch.cat(learn(over, [6, 6])))
    assert same(plain.module, over.module)
    hooked = network()
    hooked[0].register_forward_pre_hook(lambda *args: None)
    graphs.record(hooked, Precision("float32", CPU), CPU)
    assert said[1:] == ["CUDA graphs are not used: the module has hooks"]


def ticking(*seconds: float) -> Callable[[], float]:
    """A clock by which step after step takes `seconds`, again and again."""
    now, ends = 0.0, itertools.cycle([False, True])
    taken = itertools.cycle(seconds)

    def clock() -> float:
        nonlocal now
        now += next(taken) if next(ends) else 0.0
        return now

    return clock


def compared(recorder: Recorder, clock: Callable[[], float]) -> Comparison:
    step = make(None)
    before = network()
    graphs = GraphedForward(SHAPE, capture=recorder)
    graphs.record(step.module, step.precision, CPU)
    with untouched(step):
        found = compare(step, graphs, batch(6), CPU, clock=clock)
    assert step.graphs is None
    assert same(step.module, before)
    assert recorder.calls == 6
    return found


def test_graphs_are_used_where_they_agree_and_are_faster() -> None:
    found = compared(Recorder(), ticking(1.0, 0.89))
    assert (found.eager_s, found.graphs_s) == (pytest.approx(1.0), pytest.approx(0.89))
    assert (found.loss_gap, found.gradient_gap, found.why_not) == (0.0, 0.0, "")
    slow = compared(Recorder(), ticking(1.0, 0.91))
    assert slow.why_not == "910 ms a step beside 1e+03 without"


def test_other_gradients_are_found_whatever_the_speed() -> None:
    found = compared(Recorder(off=0.01), ticking(1.0, 0.1))
    assert found.loss_gap == 0
    step, count = make(None), sum(p.numel() for p in network().parameters())
    gradients: list[torch.Tensor] = []

    def keep(optimizer: object, loss: float) -> None:
        gradients.extend(p.grad.flatten().clone() for p in step.learning if p.grad is not None)

    seed_draws(0, CPU)
    step.learn(batch(6), Moment(1, 1, 1, 0.0, 6, 0), keep)
    length = float(torch.cat(gradients).double().norm())
    assert found.gradient_gap == pytest.approx(0.01 * count**0.5 / length, rel=1e-3)
    assert found.why_not.startswith("gradients differ by ")
    broken = compared(Recorder(off=float("nan")), ticking(1.0, 0.1))
    assert broken.why_not.startswith("gradients differ by nan")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_on_a_card(precision: Any) -> None:
    """The recorder of torch itself: dropout drawn by the step's seed, a smaller batch between."""
    cuda, sizes, said = torch.device("cuda"), [6, 6, 4, 6], list[str]()
    plain = make(None, cuda, precision=Precision(precision, cuda))
    graphs = GraphedForward(SHAPE, say=said.append)
    over = make(graphs, cuda, precision=Precision(precision, cuda))
    assert (graphs.recorded, said) == (True, [])
    for one, other in zip(learn(plain, sizes, cuda), learn(over, sizes, cuda), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-2)
    again = make(GraphedForward(SHAPE), cuda, precision=Precision(precision, cuda))
    learn(again, sizes, cuda)
    assert same(over.module, again.module), "the same seeds, the same bits"
