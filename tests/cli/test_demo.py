"""`opsin demo`, the first thing that a person sees."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from opsin.cli.demo import _digits, _free
from opsin.testing.digits import is_digits

VERBS = ["check", "train", "evaluate", "export", "verify", "predict"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder in which it ran, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    # A module of the person's own must not get in the way of those of the language.
    (folder / "json.py").write_text("raise SystemExit('imported by mistake')\n", encoding="utf-8")
    result = subprocess.run(
        [Path(sys.executable).with_name("opsin"), "demo"],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder, result.stdout


def test_it_shows_every_step_as_it_is_typed(shown: tuple[Path, str]) -> None:
    typed = [line.split()[2] for line in shown[1].splitlines() if line.startswith("$ opsin ")]
    assert typed == VERBS
    assert shown[1].rstrip().endswith("$ opsin serve demo/bundle")


def test_what_opens_the_report_is_shown_and_not_run(shown: tuple[Path, str]) -> None:
    (typed,) = re.findall(r"^\$ python\S* -m webbrowser (\S+)$", shown[1], re.MULTILINE)
    report = Path(urllib.request.url2pathname(urllib.parse.urlparse(typed).path))
    assert report.is_file()
    assert report.samefile(shown[0] / "runs/latest/report.html")


def test_it_can_be_run_again(tmp_path: Path) -> None:
    assert _free(tmp_path / "bundle") == tmp_path / "bundle"
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle-2").mkdir()
    assert _free(tmp_path / "bundle") == tmp_path / "bundle-3"


def test_the_planted_faults_are_found_and_explained(shown: tuple[Path, str]) -> None:
    for fault in ("truncated", "conflicting_labels", "extension_mismatch"):
        assert fault in shown[1]
    assert "exit 1 is right here" in shown[1]


def test_the_files_it_names_are_there(shown: tuple[Path, str]) -> None:
    folder, said = shown
    ending = said[said.index("\nDone in ") :]
    named = dict(re.findall(r"^(digits|run|report|bundle) +(\S+)$", ending, re.MULTILINE))
    assert list(named) == ["digits", "run", "report", "bundle"]
    for place in named.values():
        assert (folder / place).exists(), place


def test_it_is_right_for_97_of_100_digits_that_it_never_saw(shown: tuple[Path, str]) -> None:
    with (shown[0] / "runs/latest/predictions.csv").open(encoding="utf-8", newline="") as file:
        test = [row for row in csv.DictReader(file) if row["split"] == "test"]
    assert len(test) == 179
    assert sum(row["true"] == row["predicted"] for row in test) / len(test) >= 0.97


def test_untouched_digits_are_used_again_and_changed_ones_are_left_alone(tmp_path: Path) -> None:
    first = _digits(tmp_path)
    assert _digits(tmp_path) == first == tmp_path / "digits"
    (first / "0" / "mine.txt").write_text("mine", encoding="utf-8")
    second = _digits(tmp_path)
    assert second == tmp_path / "digits-2"
    assert is_digits(second)
    assert (first / "0" / "mine.txt").read_text(encoding="utf-8") == "mine"
