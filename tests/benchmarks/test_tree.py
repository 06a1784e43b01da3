"""The peers see the pictures of our split, each under its class and with its true ending."""

from __future__ import annotations

import json
from pathlib import Path

from tree import link_split


def test_links_lead_to_the_pictures_of_the_split(tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    for path in ("a/1.jpg", "b/2.png", "b/3.jpg"):
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        (data / path).write_text(path, "utf-8")
    run.mkdir()
    splits = {"train": ["a/1.jpg"], "val": ["b/2.png"], "test": ["b/3.jpg"]}
    (run / "split.json").write_text(json.dumps({"splits": splits}), "utf-8")
    rows = ["path,format,class", "a/1.jpg,JPEG,a", "b/2.png,PNG,b", "b/3.jpg,PNG,b"]
    (run / "manifest.csv").write_text("\n".join(rows), "utf-8")

    tree = link_split(run, data, tmp_path / "tree")

    found = {p.relative_to(tree).as_posix(): p.read_text("utf-8") for p in tree.rglob("*.*")}
    assert found == {
        "train/a/000000.jpg": "a/1.jpg",
        "val/b/000000.png": "b/2.png",
        "test/b/000000.png": "b/3.jpg",
    }
