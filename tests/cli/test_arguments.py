"""`key=value`, as Ultralytics' users type it."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsin.cli.arguments import with_dashes
from opsin.cli.main import load_verb
from opsin.core.errors import WrongUsage


@pytest.mark.parametrize(
    ("verb", "words", "want"),
    [
        ("train", ["data=photos", "epochs=5"], ["--epochs", "5", "--", "photos"]),
        ("train", ["photos", "imgsz=64"], ["--image-size", "64", "--", "photos"]),
        ("train", ["--lr", "-1", "photos"], ["--lr", "-1", "--", "photos"]),
        ("train", ["freeze=yes", "strict=no"], ["--freeze", "--no-strict", "--"]),
        ("train", ["--no-bundle", "p"], ["--no-bundle", "--", "p"]),
        ("check", ["data=a=b"], ["--", "a=b"]),
        ("evaluate", ["data=new", "runs/a"], ["--", "runs/a", "new"]),
        ("evaluate", ["runs/a", "data=new", "--json"], ["--json", "--", "runs/a", "new"]),
        ("predict", ["r", "a.jpg", "top=3", "-"], ["--top", "3", "--", "r", "a.jpg", "-"]),
        ("predict", ["a.jpg", "run=r", "b.jpg"], ["--", "r", "a.jpg", "b.jpg"]),
        ("predict", ["r", "--", "top=3", "-q"], ["--", "r", "top=3", "-q"]),
        ("export", ["r", "o=x"], ["--output", "x", "--", "r"]),
        ("export", ["-o", "x", "r"], ["-o", "x", "--", "r"]),
    ],
)
def test_words_mean(
    verb: str, words: list[str], want: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert with_dashes(load_verb(verb), words) == want


def test_a_file_is_a_file_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("top=5.jpg").touch()
    assert with_dashes(load_verb("predict"), ["r", "top=5.jpg"]) == ["--", "r", "top=5.jpg"]


@pytest.mark.parametrize("word", ["epoch=3", "no_report=yes", "dat=photos"])
def test_nearly_a_name_is_answered_with_the_nearest(word: str) -> None:
    with pytest.raises(WrongUsage, match=r'did you mean "(epochs|report|data)"'):
        with_dashes(load_verb("train"), [word])
