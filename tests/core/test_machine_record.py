"""What was measured here is found again, here and only here."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsin.core import machine_record
from opsin.core.cache_dir import VARIABLE
from opsin.core.machine_record import folder, recall, remember

KEY = {"model": "tinyvgg", "input_px": (64, 64), "batch_size": 32}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_comes_back_for_the_same_key(cache: Path) -> None:
    assert recall("settings", KEY) is None
    assert remember("settings", KEY, {"threads": 2})
    assert recall("settings", KEY) == {"threads": 2}
    assert recall("parts", KEY) is None
    assert recall("settings", KEY | {"batch_size": 16}) is None
    assert [path.parent for path in cache.rglob("*.json")] == [folder()]


def test_another_machine_measures_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    remember("settings", KEY, {"threads": 2})
    monkeypatch.setattr(machine_record, "_machine", lambda: {"processor": "another"})
    assert recall("settings", KEY) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"key": 1}', b'{"value": {}}', b"\xff"])
def test_a_damaged_record_is_none(cache: Path, content: bytes) -> None:
    remember("settings", KEY, {"threads": 2})
    next(cache.rglob("*.json")).write_bytes(content)
    assert recall("settings", KEY) is None
    assert remember("settings", KEY, {"threads": 1})
    assert recall("settings", KEY) == {"threads": 1}


def test_a_cache_folder_that_is_a_file_keeps_nothing(cache: Path) -> None:
    cache.write_text("")
    assert not remember("settings", KEY, {"threads": 2})
    assert recall("settings", KEY) is None
