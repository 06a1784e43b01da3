"""The examples run, do what they say, and are what the documents show."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from opsin.training.checkpoint import CheckpointStore

REPO = Path(__file__).parents[1]
EXAMPLES = sorted((REPO / "examples").glob("*.py"))
OWN = (REPO / "docs" / "own.md").read_text(encoding="utf-8")

KILLED = """
import os, signal, sys
sys.argv = ["example", {folder!r}]
from opsin.training.checkpoint import CheckpointStore
save, saved = CheckpointStore.save, []
def and_die(*arguments):
    save(*arguments)
    saved.append(1)
    if len(saved) == {saves}:
        os.kill(os.getpid(), signal.SIGKILL)
CheckpointStore.save = and_die
import runpy
runpy.run_path({path!r}, run_name="__main__")
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPO / "examples" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kill(name: str, folder: Path, *, saves: int) -> None:
    """Run an example as people do; SIGKILL ends it after its checkpoint number `saves`."""
    path = REPO / "examples" / f"{name}.py"
    program = KILLED.format(folder=str(folder), path=str(path), saves=saves)
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith("OPSIN_") or k == "OPSIN_CACHE_DIR"
    }
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, timeout=300, env=environment
    )
    assert ended.returncode == -signal.SIGKILL


def newest(folder: Path) -> dict[str, torch.Tensor]:
    saved, _ = CheckpointStore(folder).newest()
    assert saved
    return saved.tensors


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


def test_the_loop_by_hand_learns_and_is_kill_proof(tmp_path: Path) -> None:
    train = example("own_loop").train
    whole = train(tmp_path / "whole")
    x = torch.linspace(-3, 3, 50)[:, None]
    with torch.no_grad():
        assert float((whole(x) - x.sin()).square().mean()) < 0.05  # a constant is 0.5 off
    kill("own_loop", tmp_path / "killed", saves=7)
    assert newest(tmp_path / "killed").keys() == newest(tmp_path / "whole").keys()
    again = train(tmp_path / "killed")
    assert same(whole.state_dict(), again.state_dict())


def test_two_optimizers_learn_a_ring_and_are_kill_proof(tmp_path: Path) -> None:
    train = example("two_optimizers").train
    history = train(tmp_path / "whole")
    first, best = history.records[0].values, history.best
    assert best
    # From the real points to the nearest made ones and back: a heap of points in one place, or
    # around the middle, is at least 1 away from the ring on the average.
    assert first["val_loss"] > 0.5
    assert best.values["val_loss"] < 0.2
    kill("two_optimizers", tmp_path / "killed", saves=17)
    again = train(tmp_path / "killed")
    assert [r.values for r in again.records] == [r.values for r in history.records]
    whole, resumed = newest(tmp_path / "whole"), newest(tmp_path / "killed")
    assert any(name.startswith("optimizer.critic.") for name in whole)
    assert same(whole, resumed)


def test_own_parts_on_a_folder(digits: Path, tmp_path: Path) -> None:
    train = example("own_model").train
    model = train(str(digits), str(tmp_path), epochs=2)
    assert (tmp_path / "digits-own-Small" / "bundle").is_dir()
    assert not model.training


def test_own_documents_show_the_examples_as_they_are() -> None:
    blocks = re.findall(r"^```python\n# (examples/\w+\.py)\n(.*?)^```$", OWN, re.M | re.S)
    assert {name for name, _ in blocks} == {f"examples/{path.name}" for path in EXAMPLES}
    for name, text in blocks:
        assert text == (REPO / name).read_text(encoding="utf-8"), name


def test_the_loop_by_hand_is_short() -> None:
    text = (REPO / "examples" / "own_loop.py").read_text(encoding="utf-8")
    body = text[text.index("def train(") : text.index("if __name__")].strip().splitlines()
    assert len(body) <= 42
