"""`opsin find` and `opsin train --dry-run`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.command import opsin

SMALL = ("--image-size", "16", "--model", "lenet", "--threads", "1")


@pytest.fixture
def here(tmp_path: Path, digits: Path) -> Path:
    """An empty working folder with a link to the data."""
    (tmp_path / "photos").symlink_to(digits)
    return tmp_path


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")} - {"photos"}


def test_lr_draws_a_plot_and_says_what_to_type(here: Path) -> None:
    (here / "lr.svg").write_text("mine")
    done = opsin("find", "lr", "photos", *SMALL, cwd=here)
    assert done.returncode == 0, done.stderr
    assert (here / "lr.svg").read_text() == "mine"
    assert (here / "lr-2.svg").read_text().count("suggested") == 1
    assert left(here) == {"lr.svg", "lr-2.svg"}
    suggested = done.stdout.split("suggested")[1].split()[0]
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("next    opsin train photos --model lenet --image-size 16 --threads 1")
    assert last.endswith(f"--lr {suggested}")
    asked = opsin("find", "lr", "photos", *SMALL, "-o", "a.png", "--json", "-q", cwd=here)
    found = json.loads(asked.stdout)
    assert f"{found['lr']:g}" == suggested, "the same data give the same rate"
    assert len(found["rates"]) == len(found["losses"]) == len(found["smoothed"])
    assert (here / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_batch_size(here: Path) -> None:
    done = opsin("find", "batch-size", "photos", *SMALL, "--json", cwd=here)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["limit"] == "data"
    assert found["batch_size"] in [row["batch_size"] for row in found["sizes"]]
    assert left(here) == set()


def test_overfit(here: Path) -> None:
    words = ("find", "overfit", "photos", *SMALL, "--dropout", "0.5", "--augment", "light")
    done = opsin(*words, "--lr", "3e-3", cwd=here)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("passed  one batch of 32")
    assert "without augmentation, dropout and label smoothing" in done.stdout
    done = opsin(*words, "--lr", "1e-9", cwd=here)
    assert done.returncode == 1
    assert "has a fault" in done.stdout
    assert "neither too low nor too high; it is 1e-09" in done.stdout
    assert left(here) == set()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("overfitt", "photos"), 'did you mean "overfit"?'),
        (("rate", "photos"), "Allowed: lr, batch-size, overfit"),
        (("lr", "photos", "-o", "lr.jpeg"), "a plot is .svg, .png or .pdf"),
        (("lr",), "no data given"),
        (("lr", "photos", "--monitor", "val_f1"), "unknown metric"),
    ],
)
def test_wrong_words(here: Path, words: tuple[str, ...], says: str) -> None:
    done = opsin("find", *words, cwd=here)
    assert done.returncode == 2
    assert says in done.stderr
    assert left(here) == set()


def test_the_twin(here: Path) -> None:
    done = opsin("find", "lr", "photos", "--lr", "0.1", "-o", "a.svg", "--show-code", cwd=here)
    assert done.stdout.strip().endswith('opsin.find("lr", "photos", output="a.svg", lr=0.1)')


def test_a_dry_run_does_everything_but_train(here: Path) -> None:
    done = opsin("train", "photos", *SMALL, "--dry-run", cwd=here)
    assert done.returncode == 0, done.stderr
    for word in ("data ", "model  lenet", "plan   20 epochs", "memory about", "time   about"):
        assert word in done.stdout
    assert left(here) == set()
    found = json.loads(opsin("train", "photos", *SMALL, "--dry-run", "--json", cwd=here).stdout)
    assert found["settings"]["image_size"] == 16
    assert found["estimate"]["samples_at_once"] == 32
    assert found["estimate"]["train_s"] > found["estimate"]["step_s"] > 0
    assert left(here) == set()


@pytest.mark.parametrize("more", [(), ("--augment", "light", "--fine-tune")])
def test_a_dry_run_of_a_frozen_backbone(here: Path, more: tuple[str, ...]) -> None:
    done = opsin("train", "photos", *SMALL, "--freeze", *more, "--dry-run", cwd=here)
    assert done.returncode == 0, done.stderr
    assert left(here) == set()


def test_a_dry_run_finds_what_training_would_find(here: Path) -> None:
    (here / "file").write_text("")
    done = opsin("train", "photos", *SMALL, "--project", "file/runs", "--dry-run", cwd=here)
    assert done.returncode == 6, done.stderr
    done = opsin("train", "photos", *SMALL, "--monitor", "val_f1", "--dry-run", cwd=here)
    assert done.returncode == 2
    assert left(here) == {"file"}
