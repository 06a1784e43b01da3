"""A solved head is scikit-learn's logistic regression on standardised features."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from opsin.core.batch import Batch
from opsin.features.solve import GRID, TOLERANCE, Solution, judge, solve
from opsin.tasks.classification import Classification


def rows(count: int, classes: int, seed: int, features: int = 20) -> tuple[Any, Any]:
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(classes, features))
    targets = np.arange(count) % classes
    found = centres[targets] + 2 * draw.normal(size=(count, features))
    found = found * np.logspace(-3, 3, features) + np.linspace(-50, 50, features)
    return found.astype(np.float32), targets.astype(np.int64)


def both(classes: int, **more: Any) -> tuple[Any, Any, Any, Any, Solution]:
    train, val = rows(150, classes, 1), rows(60, classes, 2)
    return *train, *val, solve(*train, *val, classes, **more)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("c", [1e-3, 1.0])
def test_the_same_as_scikit_learn(classes: int, c: float) -> None:
    """One value of C, found from zero by another tolerance and by a pipeline of theirs."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y, held, _, found = both(classes, grid=[c])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, tol=1e-9, max_iter=5000))
    model.fit(x.astype(np.float64), y)
    logits = held @ found.weight.T + found.bias
    assert logits.shape[1] == (1 if classes == 2 else classes)
    theirs = model.decision_function(held.astype(np.float64)).reshape(len(held), -1)
    np.testing.assert_allclose(logits, theirs, atol=5e-3)
    predicted = (logits[:, 0] > 0).astype(int) if classes == 2 else logits.argmax(1)
    assert (predicted == model.predict(held)).all()
    assert found.tried[0].converged


def test_the_gradient_is_small() -> None:
    """Of the mean loss and the penalty, in float64 and on the standardised features."""
    x, y, _, _, found = both(3, grid=[0.01])
    deviation = x.std(0, dtype=np.float64)
    z = (x - x.mean(0, dtype=np.float64)) / deviation
    weight = found.weight * deviation
    bias = found.bias + found.weight @ x.mean(0, dtype=np.float64)
    logits = z @ weight.T + bias
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    rest = (p - np.eye(3)[y]) / len(y)
    gradient = np.concatenate([(rest.T @ z + weight / (0.01 * len(y))).ravel(), rest.sum(0)])
    assert np.abs(gradient).max() <= 1.1 * TOLERANCE


@pytest.mark.parametrize("classes", [2, 4])
def test_the_torch_head_gives_the_same_logits(classes: int) -> None:
    """On features as networks give them: means and deviations of one size."""
    x, y = rows(150, classes, 1)
    x = np.maximum(0, (x - x.mean(0)) / x.std(0)).astype(np.float32)
    found = solve(x, y, x, y, classes)
    head = torch.nn.Linear(x.shape[1], len(found.bias))
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(found.weight))
        head.bias.copy_(torch.from_numpy(found.bias))
        logits = head(torch.from_numpy(x))
    wanted = x.astype(np.float64) @ found.weight.T + found.bias
    np.testing.assert_allclose(logits.double().numpy(), wanted, atol=1e-4)


@pytest.mark.parametrize("by", ["loss", "accuracy"])
def test_c_is_the_best_on_the_held_out_rows(by: Any) -> None:
    _, _, _, _, found = both(5, by=by)
    values = [each.loss if by == "loss" else -each.accuracy for each in found.tried]
    assert found.c == found.tried[values.index(min(values))].c
    assert [each.c for each in found.tried] == sorted(each.c for each in found.tried)
    assert len(found.tried) > 3


def test_ties_go_to_the_stronger() -> None:
    """Far apart classes: every C is right about everything."""
    x, y = rows(60, 3, 1)
    far = x + 1000 * y[:, None].astype(np.float32)
    found = solve(far, y, far, y, 3, by="accuracy")
    assert found.tried[-1].accuracy == 1.0
    first = next(each.c for each in found.tried if each.accuracy == 1.0)
    assert found.c == first
    assert len(found.tried) < 13, "weaker ones are not tried"


def test_judge_is_the_loss_of_the_task() -> None:
    weights = (0.5, 1.5, 1.0)
    _, _, held, truth, found = both(3, class_weights=weights)
    task = Classification(("a", "b", "c"), class_weights=weights)
    outputs = torch.from_numpy(held @ found.weight.T + found.bias)
    batch = Batch(outputs, torch.from_numpy(truth), tuple(map(str, truth)))
    loss, accuracy = judge(found.weight, found.bias, held, truth, np.asarray(weights))
    assert loss == pytest.approx(float(task.loss(outputs, batch).mean()), rel=1e-6)
    right = task.scores(outputs, batch)["accuracy"]
    assert accuracy == pytest.approx(float(right.mean()), rel=1e-6)


def test_weights_are_as_rows_that_stand_there_so_often() -> None:
    x, y = rows(60, 2, 1)
    held = rows(40, 2, 2)
    twice = np.concatenate([x, x[y == 1]]), np.concatenate([y, y[y == 1]])
    # The scaling is that of the rows, so only predictions of a nearly free fit can be compared.
    a = solve(x, y, *held, 2, grid=[1.0], class_weights=[1.0, 2.0])
    b = solve(x, y, *held, 2, grid=[1.0], row_weights=np.where(y == 1, 2.0, 1.0))
    c = solve(x, y, *held, 2, grid=[1.0])
    np.testing.assert_allclose(a.weight, b.weight)
    assert not np.allclose(a.weight, c.weight, rtol=1e-2)
    d = solve(*twice, *held, 2, grid=[1.0])
    logits = [held[0] @ each.weight[0] + each.bias[0] for each in (a, c, d)]
    assert np.abs(logits[0] - logits[2]).max() < np.abs(logits[1] - logits[2]).max() / 3


def test_constant_features_and_absent_classes() -> None:
    x, y = rows(60, 2, 1)
    x[:, 3] = 7.3
    x[:, 4] = 0.0
    found = solve(x, y, x, y, 4)
    assert (found.weight[:, 3:5] == 0).all()
    assert np.isfinite(found.weight).all()
    logits = x @ found.weight.T + found.bias
    assert set(logits.argmax(1)) <= {0, 1}


def test_no_convergence_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    from opsin.features import solve as module

    monkeypatch.setattr(module, "ITERATIONS", 1)
    monkeypatch.setattr(module, "ROUNDS", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, _, _, _, found = both(3, grid=[10.0])
    assert not found.tried[0].converged
    assert found.tried[0].iterations == 2


def test_somebody_may_stop_it() -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        both(3, on_step=stop)


def test_by_accuracy_a_head_that_learns_is_found_behind_many_that_do_not() -> None:
    """The strongest regularisations all say the commonest class, and are equally right."""
    draw = np.random.default_rng(3)
    targets = (np.arange(300) % 5 == 0).astype(np.int64)
    features = draw.normal(size=(300, 84)) + targets[:, None] * 0.35
    held = (np.arange(200) % 5 == 0).astype(np.int64)
    held_features = draw.normal(size=(200, 84)) + held[:, None] * 0.35
    found = solve(features, targets, held_features, held, 2, by="accuracy")
    assert len(found.tried) == len(GRID)
    assert max(each.accuracy for each in found.tried) > 0.9
    chosen = next(each for each in found.tried if each.c == found.c)
    assert chosen.accuracy == max(each.accuracy for each in found.tried)
    commonest = 1 - held.mean()
    assert [each.accuracy for each in found.tried[:5]] == pytest.approx([commonest] * 5)
