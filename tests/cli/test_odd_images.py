"""Every odd and every unreadable picture of the shared corpus through check, train and predict."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.cli.command import opsin

from opsin.api.run_result import RunResult


@pytest.fixture(scope="module")
def corpus(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of odd pictures, the unreadable ones spread over both."""
    root = tmp_path_factory.mktemp("corpus")
    for folder in ("odd", "unreadable"):
        for number, path in enumerate(sorted((shared_data / "odd_images" / folder).iterdir())):
            target = root / "ab"[number % 2] / f"{folder}-{path.name}"
            target.parent.mkdir(exist_ok=True)
            shutil.copy(path, target)
    return root


def test_check(corpus: Path, tmp_path: Path) -> None:
    done = opsin("check", corpus, "--json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    errors = {
        where: finding["code"]
        for finding in result["findings"]
        if finding["severity"] == "error"
        for where in finding["where"]
    }
    unreadable = list(corpus.rglob("unreadable-*"))
    assert len(unreadable) == 43
    for path in unreadable:
        assert errors[path.relative_to(corpus).as_posix()] in (
            "image_undecodable", "truncated", "too_many_pixels",
        )  # fmt: skip
    assert result["files"] == 287
    assert result["usable"] >= 225


def test_train_refuses_so_many_bad_files_and_obeys_when_told(corpus: Path, tmp_path: Path) -> None:
    words = ["train", corpus, "image_size=32", "epochs=1", "--no-bundle", "-q"]
    refused = opsin(*words, cwd=tmp_path)
    assert refused.returncode == 3
    assert "of 287 files cannot be used" in refused.stderr
    done = opsin(*words, "--max-bad-frac", "0.5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    split = json.loads((tmp_path / "runs" / "latest" / "split.json").read_text())
    used = [name for ids in split["splits"].values() for name in ids]
    assert not [name for name in used if "unreadable-" in name]
    assert len(used) + len(split["left_out"]) >= 225


def test_predict(corpus: Path, trained: RunResult, tmp_path: Path) -> None:
    done = opsin("predict", trained.path, corpus, "--json", cwd=tmp_path)
    assert done.returncode == 3
    rows = json.loads(done.stdout)["predictions"]
    refused = {Path(row["source"]).name for row in rows if "error" in row}
    names = {p.name for p in corpus.rglob("unreadable-*")}
    assert len(rows) >= 280
    assert {name for name in names if name in {Path(r["source"]).name for r in rows}} <= refused
    assert len(refused - names) <= 20, "odd pictures that are too small"
    for row in rows:
        assert "error" in row or 0 <= row["probability"] <= 1
