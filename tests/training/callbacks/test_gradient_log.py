"""Norms of layers, against autograd by hand."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
from tests.training.callbacks.kills import run_killed, run_whole
from tests.training.points import Points, StopAt, make_trainer, network
from torch import nn

from opsin.core.errors import Interrupted
from opsin.training.callback import Ask, Callback
from opsin.training.callbacks.gradient_log import GradientLog
from opsin.training.checkpoint import CheckpointStore
from opsin.training.events import BatchEnd, BatchStart
from opsin.training.interrupt import StopRequest


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_equals_a_float64_computation(tmp_path: Path) -> None:
    """Plain SGD by hand: before the last update of each epoch."""
    path, lr, epochs = tmp_path / "gradients.csv", 0.05, 2
    model = network()
    model[3] = nn.Identity()
    make_trainer(
        tmp_path / "c",
        model=model,
        lr=lr,
        epochs=epochs,
        optimizer="sgd",
        callbacks=[GradientLog(path)],
        step={"clip_norm": 0.01},  # clipped afterwards
    ).fit()
    by_hand = network()
    by_hand[3] = nn.Identity()
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=lr, momentum=0.9, nesterov=True)
    train = Points(90, 1, shuffle=True)
    expected = []
    for epoch in range(1, epochs + 1):
        for batch in train.epoch(epoch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(by_hand(batch.inputs), batch.targets).backward()
            norms = {
                name: [
                    math.sqrt(sum(float((t.detach().double() ** 2).sum()) for t in tensors))
                    for tensors in ([p.grad for p in layer.parameters()], layer.parameters())
                ]
                for name, layer in by_hand.named_children()
                if list(layer.parameters())
            }
            nn.utils.clip_grad_norm_(by_hand.parameters(), 0.01)
            optimizer.step()
        expected += [(epoch, name, *pair) for name, pair in norms.items()]
    found = rows(path)
    assert [(int(r["epoch"]), r["layer"]) for r in found] == [each[:2] for each in expected]
    for row, (_, _, gradient, weight) in zip(found, expected, strict=True):
        assert float(row["gradient_norm"]) == pytest.approx(gradient, rel=1e-4)
        assert float(row["weight_norm"]) == pytest.approx(weight, rel=1e-5)
        assert float(row["update_share"]) == pytest.approx(lr * gradient / weight, rel=1e-4)


@pytest.mark.parametrize("stages", [1, 2])
def test_the_same_bytes_after_kills(tmp_path: Path, stages: int) -> None:
    for name, runner in (("a", run_whole), ("b", run_killed)):
        path = tmp_path / f"{name}.csv"
        runner(tmp_path / name, lambda path=path: [GradientLog(path)], stages=stages, epochs=5)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    layers = ["0", "1", "4"] * 5
    if stages == 2:  # the head learns alone, then batch-norm's scales learn with the rest
        layers = ["4"] * 5 + layers
    assert [row["layer"] for row in rows(tmp_path / "a.csv")] == layers


@pytest.mark.parametrize("at", [(3, 2), (3, 6)])
def test_the_same_bytes_after_a_polite_stop(tmp_path: Path, at: tuple[int, int]) -> None:
    """After the last step the norms wait in the checkpoint: only the validation is left."""
    run_whole(tmp_path / "a", lambda: [GradientLog(tmp_path / "a.csv")])
    stop = StopRequest()
    callbacks = [GradientLog(tmp_path / "b.csv"), StopAt(stop, *at)]
    with pytest.raises(Interrupted):
        make_trainer(tmp_path / "b", callbacks=callbacks, stop=stop).fit()
    saved = CheckpointStore(tmp_path / "b").newest()[0]
    make_trainer(tmp_path / "b", callbacks=[GradientLog(tmp_path / "b.csv")]).fit(saved)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_an_epoch_that_ends_early_shows_its_last_step(tmp_path: Path) -> None:
    class Stop(Callback):
        def on_batch_end(self, end: BatchEnd) -> Ask | None:
            return Ask.STOP if end.step == 4 else None

    class Skip(Callback):
        def on_batch_start(self, start: BatchStart) -> Ask | None:
            return Ask.SKIP if start.step > 4 else None

    for name, other in (("a", Stop()), ("b", Skip())):
        log = GradientLog(tmp_path / f"{name}.csv")
        make_trainer(tmp_path / name, epochs=1, callbacks=[log, other]).fit()
    assert len(rows(tmp_path / "a.csv")) == 3
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_a_layer_of_zeros_has_no_share(tmp_path: Path) -> None:
    model = network()
    nn.init.zeros_(model[4].weight)
    nn.init.zeros_(model[4].bias)
    path = tmp_path / "gradients.csv"
    make_trainer(tmp_path / "c", model=model, epochs=1, lr=0.0, callbacks=[GradientLog(path)]).fit()
    last = rows(path)[-1]
    assert (last["layer"], last["weight_norm"], last["update_share"]) == ("4", "0", "")
