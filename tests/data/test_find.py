"""Which pictures are meant by the files and folders that a person names."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsin.core.errors import WrongUsage
from opsin.data.find import find_pictures


def names(folder: Path, **options: object) -> list[str]:
    found = list(find_pictures([folder], **options))  # type: ignore[arg-type]
    assert all(Path(name) == path and path.is_file() for name, path in found)
    return [path.relative_to(folder).as_posix() for _, path in found]


def make(root: Path, *files: str) -> None:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_folders_are_walked_as_those_of_a_data_set_are(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    make(root, "b.jpg", "deep/er/c.PNG", "notes.txt", "Thumbs.db")
    make(root, ".hidden/x.jpg", "__MACOSX/y.jpg", "deep/.z.jpg")
    make(outside, "secret.jpg")
    (root / "in.jpg").symlink_to(root / "b.jpg")
    (root / "out.jpg").symlink_to(outside / "secret.jpg")
    (root / "out").symlink_to(outside)
    (root / "deep" / "up").symlink_to(root)
    (root / "gone.jpg").symlink_to(root / "nothing.jpg")
    told: list[str] = []
    assert names(root, on_aside=told.append) == ["b.jpg", "in.jpg", "deep/er/c.PNG"]
    said = "\n".join(told)
    for aside in ("gone.jpg", "deep/up", "out, out.jpg", "leaves the data folder"):
        assert aside in said
    assert names(root) == ["b.jpg", "in.jpg", "deep/er/c.PNG"]


def test_a_file_is_taken_whatever_its_name_and_a_hidden_folder_when_it_is_named(
    tmp_path: Path,
) -> None:
    make(tmp_path, ".cache/a.jpg", "picture")
    assert names(tmp_path / ".cache") == ["a.jpg"]
    named = tmp_path / "picture"
    assert list(find_pictures([named, named])) == [(str(named), named)] * 2


def test_nothing_there_is_said(tmp_path: Path) -> None:
    make(tmp_path, "empty/readme.txt")
    (tmp_path / "empty" / "a.jpg").symlink_to("b.jpg")
    with pytest.raises(WrongUsage, match=r"no pictures in this folder; 1 entry points to nothing"):
        list(find_pictures([tmp_path / "empty"]))
    with pytest.raises(WrongUsage, match="no such file"):
        list(find_pictures([tmp_path / "nowhere"]))
