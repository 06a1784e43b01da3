"""docs/callbacks.md: its code runs, and what it lists is there."""

from __future__ import annotations

import re
from inspect import cleandoc, isclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.training.points import make_trainer

import opsin.training.callbacks
from opsin.core.config import TrainConfig
from opsin.training.callback import Callback
from opsin.training.events import Event

PAGE = (Path(__file__).parents[3] / "docs" / "callbacks.md").read_text("utf-8")


def block(mark: str) -> str:
    found = re.search(rf"<!-- {mark} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def test_the_own_callback_runs(tmp_path: Path) -> None:
    """It stops where the history says, and not at once."""
    code = block("own")
    names: dict[str, Any] = {}
    exec(code, names)
    callbacks = [names["GoodEnough"](0.7)]
    history = make_trainer(tmp_path, callbacks=callbacks, epochs=30, lr=0.002).fit()
    good = [record.values["val_accuracy"] > 0.7 for record in history.records]
    assert good[-2:] == [True, True]
    assert (True, True) not in list(pairwise(good[:-1]))
    assert 2 < len(good) < 30
    lines = [line for line in code.partition("class ")[2].splitlines() if line.strip()]
    assert len(lines) <= 10


def test_the_loop_is_that_of_the_docstring() -> None:
    assert block("events").strip() in cleandoc(Event.__doc__ or "")


def test_every_callback_is_listed_with_settings_that_exist() -> None:
    folder = Path(opsin.training.callbacks.__file__).parent
    found = set()
    for path in folder.glob("*.py"):
        module = __import__(f"opsin.training.callbacks.{path.stem}", fromlist=["*"])
        found |= {
            name
            for name, value in vars(module).items()
            if isclass(value)
            and issubclass(value, Callback)
            and value.__module__ == module.__name__
        }
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == found
    flags = {flag.replace("-", "_") for flag in re.findall(r"`--([a-z-]+)", PAGE)}
    assert flags <= set(TrainConfig.model_fields)
