"""Folders as people have them, and what is said of those that cannot be used."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opsin.core.errors import DataRefused, OpsinError, WrongUsage
from opsin.core.finding import Finding
from opsin.data.formats.folder import read_folder
from opsin.data.formats.registry import FORMATS
from opsin.data.index import Index

Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Makes files (names with a slash at the end: folders) below a folder "photos"."""
    root = tmp_path / "photos"
    root.mkdir()

    def make(*paths: str) -> Path:
        for path in paths:
            full = root / path
            if path.endswith("/"):
                full.mkdir(parents=True, exist_ok=True)
            else:
                full.parent.mkdir(parents=True, exist_ok=True)
                full.write_bytes(b"never opened")
        return root

    return make


def ids(index: Index) -> list[str]:
    return [row.source_id for row in index.rows]


def codes(index: Index) -> list[str]:
    return [finding.code for finding in index.findings]


def finding(index: Index, code: str) -> Finding:
    (found,) = [finding for finding in index.findings if finding.code == code]
    return found


def refused(root: Path, kind: type[OpsinError], code: str) -> OpsinError:
    with pytest.raises(kind) as caught:
        read_folder(root)
    assert caught.value.code == code
    assert str(root) in caught.value.where
    return caught.value


# --- layouts ---


def test_a_folder_for_each_class(tree: Tree) -> None:
    root = tree("dog/2.jpg", "dog/1.png", "cat/b/deep/3.JPG", "cat/a.webp", "cat/B.png")
    index = read_folder(root)
    assert index.root == root
    assert index.classes == ("cat", "dog")
    assert ids(index) == ["cat/B.png", "cat/a.webp", "cat/b/deep/3.JPG", "dog/1.png", "dog/2.jpg"]
    assert [row.target for row in index.rows] == [0, 0, 0, 1, 1]
    assert {row.split for row in index.rows} == {None}
    assert [row.path for row in index.rows] == [root / row.source_id for row in index.rows]
    assert index.findings == ()
    assert FORMATS.load("folder") is read_folder


@pytest.mark.parametrize("name", ["jpg", "JPEG", "png", "bmp", "gif", "tif", "TIFF", "WebP"])
def test_extensions_in_any_case(tree: Tree, name: str) -> None:
    assert ids(read_folder(tree(f"a/x.{name}", "b/y.png"))) == [f"a/x.{name}", "b/y.png"]


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Validation"])
def test_splits_above_the_classes(tree: Tree, val: str) -> None:
    root = tree("test/cat/1.png", f"{val}/dog/2.png", f"{val}/cat/2.png", "train/dog/3.png")
    tree("train/cat/3.png", "test/dog/1.png")
    index = read_folder(root)
    assert index.classes == ("cat", "dog")
    assert [(row.source_id, row.split, row.target) for row in index.rows] == [
        ("train/cat/3.png", "train", 0),
        ("train/dog/3.png", "train", 1),
        (f"{val}/cat/2.png", "val", 0),
        (f"{val}/dog/2.png", "val", 1),
        ("test/cat/1.png", "test", 0),
        ("test/dog/1.png", "test", 1),
    ]
    assert index.findings == ()


def test_one_class_list_for_all_splits(tree: Tree) -> None:
    index = read_folder(tree("train/a/1.png", "train/c/1.png", "test/b/1.png", "test/c/1.png"))
    assert index.classes == ("a", "b", "c")
    assert [row.target for row in index.rows] == [0, 2, 1, 2]
    missing = [f for f in index.findings if f.code == "class_missing_in_split"]
    assert [(f.message, f.where) for f in missing] == [
        ('train has no pictures of "b"', ("b",)),
        ('test has no pictures of "a"', ("a",)),
    ]


def test_a_test_set_alone(tree: Tree) -> None:
    index = read_folder(tree("test/a/1.png", "test/b/1.png"))
    assert {row.split for row in index.rows} == {"test"}


def test_a_class_may_be_called_train(tree: Tree) -> None:
    index = read_folder(tree("train/1.png", "plane/1.png", "car/1.png"))
    assert index.classes == ("car", "plane", "train")
    assert {row.split for row in index.rows} == {None}


def test_folders_beside_the_splits_are_named(tree: Tree) -> None:
    index = read_folder(
        tree("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png", "docs/x.png")
    )
    assert len(index.rows) == 4
    assert finding(index, "ignored_folder").where == ("docs",)


def test_val_given_twice_is_refused(tree: Tree) -> None:
    root = tree("train/a/1.png", "val/a/1.png", "validation/a/1.png")
    assert "val and validation" in refused(root, DataRefused, "split_twice").message


def test_the_order_does_not_come_from_the_file_system(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(*(f"{name}/{number}.png" for name in "ba" for number in range(9)))
    wanted = ids(read_folder(root))
    real = os.scandir

    class Backwards:
        def __init__(self, path: Any) -> None:
            self.entries = real(path)

        def __enter__(self) -> Any:
            return reversed(list(self.entries.__enter__()))

        def __exit__(self, *details: Any) -> None:
            self.entries.__exit__(*details)

    monkeypatch.setattr(os, "scandir", Backwards)
    assert ids(read_folder(root)) == wanted


def test_no_picture_is_ever_opened(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree("a/1.png", "b/2.png")

    def forbidden(*args: Any, **options: Any) -> Any:
        raise AssertionError("opened")

    monkeypatch.setattr(builtins, "open", forbidden)
    monkeypatch.setattr(Path, "open", forbidden)
    monkeypatch.setattr(os, "open", forbidden)
    assert len(read_folder(root).rows) == 2


def test_a_relative_path_becomes_absolute(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree("a/1.png", "b/2.png")
    monkeypatch.chdir(root.parent)
    assert read_folder(Path("photos")).rows[0].path == root / "a/1.png"


# --- what is left aside ---


def test_junk_is_passed_over_without_a_word(tree: Tree) -> None:
    index = read_folder(
        tree(
            "a/1.png",
            "b/1.png",
            ".hidden/1.png",
            "__MACOSX/a/._1.png",
            "a/._1.png",
            "a/.ipynb_checkpoints/1.png",
            "a/Thumbs.db",
            "b/desktop.ini",
        )
    )
    assert (ids(index), index.classes, index.findings) == (["a/1.png", "b/1.png"], ("a", "b"), ())


def test_other_files_are_counted(tree: Tree) -> None:
    index = read_folder(
        tree("a/1.png", "b/1.png", "a/x.txt", "a/y.TXT", "b/labels.csv", "b/noextension")
    )
    ignored = finding(index, "ignored")
    assert ignored.severity == "info"
    assert "4 files" in ignored.message
    assert "2 .txt, 1 .csv, 1 no extension" in ignored.message
    assert ignored.where == ("a/x.txt", "a/y.TXT", "b/labels.csv", "b/noextension")


def test_pictures_outside_of_class_folders_are_named(tree: Tree) -> None:
    index = read_folder(tree("a/1.png", "b/1.png", "loose.jpg"))
    assert finding(index, "outside_class_folders").where == ("loose.jpg",)
    assert ids(index) == ["a/1.png", "b/1.png"]


def test_an_empty_class_keeps_its_place_in_the_list(tree: Tree) -> None:
    index = read_folder(tree("a/1.png", "b/", "c/1.png"))
    assert index.classes == ("a", "b", "c")
    assert [row.target for row in index.rows] == [0, 2]


def test_special_files_are_named(tree: Tree) -> None:
    root = tree("a/1.png", "b/1.png")
    os.mkfifo(root / "a" / "pipe.png")
    assert finding(read_folder(root), "special_file").where == ("a/pipe.png",)


# --- links ---


def test_a_link_inside_is_followed_and_outside_is_not(tree: Tree, tmp_path: Path) -> None:
    root = tree("a/1.png", "b/1.png")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "2.png").write_bytes(b"")
    (root / "a/inside.png").symlink_to(root / "b/1.png")
    (root / "a/outside.png").symlink_to(elsewhere / "2.png")
    (root / "b/outside").symlink_to(elsewhere)
    (root / "c").symlink_to(elsewhere)
    # a folder whose name merely begins like the root's is outside
    (tmp_path / "photos2").mkdir()
    (root / "d").symlink_to(tmp_path / "photos2")
    index = read_folder(root)
    assert ids(index) == ["a/1.png", "a/inside.png", "b/1.png"]
    assert finding(index, "link_outside").where == ("a/outside.png", "b/outside", "c", "d")
    followed = read_folder(root, follow_links=True)
    assert ids(followed) == [
        "a/1.png",
        "a/inside.png",
        "a/outside.png",
        "b/1.png",
        "b/outside/2.png",
        "c/2.png",
    ]
    assert followed.findings == ()


def test_dangling_links_are_named(tree: Tree) -> None:
    root = tree("a/1.png", "b/1.png")
    (root / "a/gone.png").symlink_to(root / "nowhere.png")
    (root / "gone").symlink_to(root / "nowhere")
    index = read_folder(root)
    assert finding(index, "dangling_link").where == ("a/gone.png", "gone")
    assert index.classes == ("a", "b")


@pytest.mark.parametrize("follow", [False, True])
def test_loops_end(tree: Tree, follow: bool) -> None:
    root = tree("a/x/1.png", "b/1.png")
    (root / "a/x/up").symlink_to(root / "a")
    (root / "b/root").symlink_to(root)
    (root / "b/self.png").symlink_to(root / "b/self.png")
    index = read_folder(root, follow_links=follow)
    assert ids(index) == ["a/x/1.png", "b/1.png"]
    assert finding(index, "link_loop").where == ("a/x/up", "b/root", "b/self.png")


def test_links_across_do_not_multiply(tree: Tree) -> None:
    root = tree(*(f"a/{n}/{n}.png" for n in range(8)), "b/1.png")
    for here in range(8):
        for there in range(8):
            if here != there:
                (root / f"a/{here}/to{there}").symlink_to(root / f"a/{there}")
    index = read_folder(root)
    assert 8 <= len([row for row in index.rows if row.target == 0]) <= 64


# --- names ---


def test_strange_names(tree: Tree) -> None:
    names = ["a b.png", "🐈.png", "a\nb.png", os.fsdecode(b"\xff\xfe.png"), "x" * 251 + ".png"]
    root = tree(*(f"<b>c</b>/{name}".replace("</", "<_") for name in names), "d/1.png")
    index = read_folder(root)
    assert index.classes == ("<b>c<_b>", "d")
    assert sorted(Path(i).name for i in ids(index)) == sorted([*names, "1.png"])
    for row in index.rows:
        assert row.path.exists()
        assert os.fsencode(row.source_id) == os.fsencode(row.path.relative_to(root))


# --- what is refused ---


def test_a_missing_path_names_the_nearest(tree: Tree) -> None:
    root = tree("a/1.png")
    error = refused(root.parent / "photso", WrongUsage, "no_such_path")
    assert f'did you mean "{root}"' in error.message
    assert error.exit_code == 2
    assert "did you mean" not in refused(root / "qqq", WrongUsage, "no_such_path").message
    refused(root / "x" / "y", WrongUsage, "no_such_path")


def test_a_file_is_no_folder(tree: Tree) -> None:
    root = tree("a/1.png", "photos.zip")
    assert "unpack" in refused(root / "photos.zip", WrongUsage, "not_a_folder").fix
    assert "is a picture" in refused(root / "a/1.png", WrongUsage, "not_a_folder").message


def test_a_root_that_is_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    refused(tmp_path / "link", WrongUsage, "dangling_link")


def test_a_root_that_is_a_link_is_used(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree("a/1.png", "b/1.png"))
    index = read_folder(tmp_path / "link")
    assert ids(index) == ["a/1.png", "b/1.png"]
    assert index.findings == ()


def test_an_empty_folder(tree: Tree) -> None:
    error = refused(tree(), DataRefused, "empty_folder")
    assert error.exit_code == 3
    assert error.fix


@pytest.mark.parametrize(
    ("paths", "code"),
    [
        (("1.png", "2.jpg"), "no_class_folders"),
        (("train/1.png", "test/2.png"), "no_class_folders"),
        (("train/", "test/"), "no_class_folders"),
        (("notes.txt",), "no_pictures"),
        (("a/", "b/"), "no_pictures"),
        (("a/x.txt", "b/y.csv"), "no_pictures"),
        (("cat/1.png", "cat/2.png"), "one_class"),
        (("train/cat/1.png", "test/cat/2.png"), "one_class"),
    ],
)
def test_folders_that_cannot_be_used(tree: Tree, paths: tuple[str, ...], code: str) -> None:
    assert refused(tree(*paths), DataRefused, code).fix


def test_only_links_outside_are_explained(tree: Tree, tmp_path: Path) -> None:
    root = tree()
    (tmp_path / "elsewhere").mkdir()
    (root / "a").symlink_to(tmp_path / "elsewhere")
    assert "leaves the data folder" in refused(root, DataRefused, "no_pictures").message


def test_real_folders(shared_data: Path) -> None:
    index = read_folder(shared_data / "pizza_steak_sushi")
    assert index.classes == ("pizza", "steak", "sushi")
    counts = [
        sum(row.split == split and row.target == target for row in index.rows)
        for split in ("train", "test")
        for target in range(3)
    ]
    assert counts == [78, 75, 72, 25, 19, 31]
    assert len(read_folder(shared_data / "happy_sad").rows) == 301
