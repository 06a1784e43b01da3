"""What everything that is registered must do: each name of a registry, from its first day on."""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from opsin.core.finding import Finding, Severity
from opsin.core.registry import Registry
from opsin.data.augment.augmentation import Augmentation, Mixing
from opsin.data.augment.augmenter import Augmenter
from opsin.data.augment.registry import AUGMENTATIONS
from opsin.data.checks.registry import CHECKS
from opsin.data.checks.scanned import ScannedData
from opsin.data.decode import Note
from opsin.data.formats.registry import FORMATS
from opsin.data.index import Index, Rows
from opsin.data.record import FileRecord, Records
from opsin.explanation.registry import EXPLANATIONS
from opsin.exporting.registry import TARGETS
from opsin.tasks.registry import TASKS
from opsin.tasks.task import Task

REPO = Path(__file__).parents[2]
SRC = REPO / "src" / "opsin"


def global_states() -> list[bytes]:
    """Of every generator that a careless draw would move."""
    numpy_state: Any = np.random.get_state()
    return [
        torch.random.get_rng_state().numpy().tobytes(),
        numpy_state[1].tobytes() + bytes(str(numpy_state[2]), "ascii"),
        bytes(str(random.getstate()), "ascii"),
    ]


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation(name: str) -> None:
    made = AUGMENTATIONS.load(name)
    assert issubclass(made, Augmentation | Mixing)
    assert not inspect.isabstract(made)
    assert made.draws > 0
    assert positional(made) == ["strength"]
    before = global_states()
    images = torch.zeros(4, 3, 24, 40, dtype=torch.uint8)
    augmenter = Augmenter(name, seed=7)
    augmenter(images, [1] * 4, list("abcd"))
    if augmenter.mixes:
        augmenter.mix(images, images, [1] * 4, list("abcd"))
    assert global_states() == before, "drew from a generator that belongs to everybody"


def record(name: str, number: int, **fields: Any) -> FileRecord:
    known = {
        "size_bytes": 100, "sha256": f"{number + 1:064x}", "pixel_sha256": f"{number + 1:064x}",
        "width_px": 64,
        "height_px": 48, "format": "PNG", "mode": "RGB",
    }  # fmt: skip
    return FileRecord(name, Path(name), **(known | fields))


def scanned(*files: tuple[str, int, str | None, dict[str, Any]]) -> ScannedData:
    """(source id, target, split, what the record has beside the usual)."""
    rows = Rows(Path("root"), (each[:3] for each in files))
    records = (record(name, i, **fields) for i, (name, _, _, fields) in enumerate(files))
    index = Index(Path("root"), ("cat", "dog"), rows, ())
    return ScannedData(index, Records.of(rows, records))


NOTES = tuple(
    Note(code, f"{code} said")
    for code in ("extension_mismatch", "rotated", "first_frame", "mode_converted")
)
BAD = {"error": "truncated", "error_message": "9 bytes present", "pixel_sha256": "", "width_px": 0}
ODD = scanned(
    ("cat/broken.png", 0, "train", BAD),
    ("cat/a.png", 0, "train", {"pixel_sha256": "ab" * 32}),
    ("cat/a again.png", 0, "train", {"pixel_sha256": "ab" * 32}),
    ("dog/a.png", 1, "test", {"pixel_sha256": "ab" * 32}),
    ("dog/tiny.jpg", 1, "test", {"width_px": 9, "notes": NOTES}),
    *((f"cat/{i}.png", 0, "train", {}) for i in range(30)),
)
EMPTY = Rows(Path("root"))
DATA = {
    "nothing at all": ScannedData(Index(Path("root"), (), EMPTY, ()), Records(EMPTY)),
    "classes without files": scanned(),
    "nothing usable": scanned(("cat/broken.png", 0, None, BAD)),
    "nothing wrong": scanned(*((f"{n}.png", n % 2, None, {}) for n in range(12))),
    "much wrong": ODD,
}


@pytest.mark.parametrize("data", DATA.values(), ids=list(DATA))
@pytest.mark.parametrize("name", CHECKS)
def test_check(name: str, data: ScannedData) -> None:
    check = CHECKS.load(name)
    found = list(check(data))
    known = {row.source_id for row in data.index.rows} | set(data.index.classes)
    for finding in found:
        assert isinstance(finding, Finding)
        assert finding.severity in get_args(Severity)
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", finding.code)
        assert finding.message
        assert "\n" not in finding.message
        assert set(finding.where) <= known, "names what is in the data and nothing else"
        assert finding.severity != "error" or finding.fix, "says what to do"
    assert list(check(data)) == found, "asked again, another answer"


def test_each_check_finds_something_in_the_odd_data() -> None:
    silent = {name for name in CHECKS if not list(CHECKS.load(name)(ODD))}
    assert silent <= {"class_size"}, "this test has no case for them"


EXPLAINS = ["model", "layer", "inputs", "outputs"]


def positional(function: Callable[..., Any]) -> list[str]:
    """Names of the arguments that must be given."""
    return [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
    ]


@pytest.mark.parametrize(
    ("registry", "name", "takes", "gives"),
    [
        *((EXPLANATIONS, n, EXPLAINS, "Tensor") for n in EXPLANATIONS),
        *((TARGETS, n, ["model", "task", "spec"], "bytes") for n in TARGETS),
        *((FORMATS, n, ["root"], "Index") for n in FORMATS),
        *((CHECKS, n, ["scanned"], "Iterator[Finding]") for n in CHECKS),
    ],
)
def test_signature(registry: Registry, name: str, takes: list[str], gives: str) -> None:
    """All of a registry can be called in the same words."""
    function = registry.load(name)
    assert positional(function) == takes
    assert inspect.signature(function).return_annotation == gives


@pytest.mark.parametrize("name", TASKS)
def test_task(name: str) -> None:
    task = TASKS.load(name)
    assert issubclass(task, Task)
    assert not inspect.isabstract(task)


def test_every_list_of_names_is_on_the_map() -> None:
    """Those in a file called registry.py are found by the other tests of registries."""
    told = (REPO / "docs" / "map.md").read_text(encoding="utf-8")
    lists = {
        path.relative_to(SRC).as_posix()
        for path in SRC.rglob("*.py")
        if re.search(r"^[A-Z_]+ = Registry\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert "tasks/registry.py" in lists
    elsewhere = [path for path in lists if not path.endswith("/registry.py")]
    assert elsewhere
    for path in elsewhere:
        assert f"`{path}`" in told


def test_the_changelog_names_what_is_listed_elsewhere() -> None:
    from opsin.cli.main import VERBS
    from opsin.training.optim import OPTIMIZERS

    changelog = (REPO / "CHANGELOG.md").read_text(encoding="utf-8")
    for name in [*VERBS, *OPTIMIZERS]:
        assert f"`{name}`" in changelog, name
