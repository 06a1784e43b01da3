"""`opsin cache` as a person types it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.cli.command import opsin
from tests.data.stored import run, write_pictures

import opsin as package


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder with three pictures."""
    monkeypatch.setenv("OPSIN_CACHE_DIR", str(tmp_path / "cache"))
    run(write_pictures(tmp_path / "photos", 3), tmp_path / "cache")
    return tmp_path / "cache"


def test_list_and_clear(folder: Path, tmp_path: Path) -> None:
    listed = opsin("cache", cwd=tmp_path)
    assert (listed.returncode, listed.stderr) == (0, "")
    line, total, hint = listed.stdout.splitlines()
    assert line.split("  ")[0] == "pixels"
    assert "3 pictures" in line
    assert "last used today" in line
    assert "32 × 24 px, crop, bilinear" in line
    assert total.endswith(str(folder))
    assert "opsin cache --clear" in hint
    shown = json.loads(opsin("cache", "--json", cwd=tmp_path).stdout)
    assert shown == json.loads(json.dumps(package.cache().to_dict()))
    assert opsin("cache", "--clear", "features", cwd=tmp_path).stdout.startswith("pixels")
    cleared = opsin("cache", "--clear", "all", cwd=tmp_path)
    assert cleared.stdout.splitlines()[0].startswith("cleared  pixels")
    assert cleared.stdout.splitlines()[1] == f"0 B in {folder}"
    assert not list(folder.glob("pixels/*/*"))


def test_wrong_words(folder: Path, tmp_path: Path) -> None:
    done = opsin("cache", "--clear", "everything", cwd=tmp_path)
    assert done.returncode == 2
    assert "pixels, features, machine, all" in done.stderr
    assert json.loads(opsin("cache", "--older-than", "x", "--json", cwd=tmp_path).stdout)["error"]
    assert list(folder.glob("pixels/*/*.pixels"))


def test_show_code(folder: Path, tmp_path: Path) -> None:
    done = opsin("cache", "--clear", "pixels", "--older-than", "30d", "--show-code", cwd=tmp_path)
    assert done.stdout == 'import opsin\n\nopsin.cache(clear="pixels", older_than="30d")\n'
    assert opsin("cache", "--show-code", cwd=tmp_path).stdout == "import opsin\n\nopsin.cache()\n"


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
def test_a_hostile_folder_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "a\x1b[31m\nb"
    monkeypatch.setenv("OPSIN_CACHE_DIR", str(place))
    done = opsin("cache", cwd=tmp_path)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) == 1
