"""Fixtures of this room: a made-up run folder with real pictures, and its report taken apart."""

from __future__ import annotations

import csv
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from opsin.core.finding import Finding
from opsin.core.report import Report, Value
from opsin.report.html import write_report


@dataclass(frozen=True)
class Example:
    """`wrong`: source ids of the wrong test pictures, worst first; `wrote`: metrics.json."""

    run: Path
    data: Path
    classes: tuple[str, ...]
    wrong: tuple[str, ...]
    wrote: Report

    def write_history(self, *, epochs: int) -> None:
        """Two stages; the lowest validation loss, 0.4321, is in epoch 4."""
        losses = [0.9, 0.7, 0.6, 0.4321, 0.5, 0.55]
        rows = [
            [e, "head" if e < 3 else "all", 0.01, 1 / e, 0.5 + e / 20, losses[e - 1], 0.6, 1.5]
            for e in range(1, epochs + 1)
        ]
        columns = "epoch stage lr train_loss train_accuracy val_loss val_accuracy seconds"
        write_csv(self.run / "history.csv", columns.split(), rows)


def build_run(
    folder: Path,
    classes: Sequence[str] = ("cat", "dog"),
    *,
    each: int = 6,
    names: Sequence[str] = (),
    splits: Sequence[str] = ("val", "test"),
    side: int = 90,
    under: str = "",
) -> Example:
    """Each class: `each` pictures, the first half for training, the rest dealt to `splits`.

    `names`: file names of the first pictures of the first class. In each split the last picture
    of a class is taken for the next class, the surer the later the class.
    """
    folder = folder / under
    run, data = folder / "runs" / "demo", folder / "data"
    run.mkdir(parents=True)
    manifest, predictions = [], []
    wrong: list[tuple[float, str]] = []
    confusion = {split: np.zeros((len(classes), len(classes)), int) for split in splits}
    for k, label in enumerate(classes):
        (data / str(k)).mkdir(parents=True)
        ids = []
        for i in range(each):
            name = names[i] if k == 0 and i < len(names) else f"{i}.png"
            source_id = f"{k}/{name}"
            path = data / str(k) / name
            pixels = np.full((side, side + 10, 3), (40 * k + 3 * i) % 256, np.uint8)
            Image.fromarray(pixels).save(path, "PNG")
            ids.append(source_id)
            split = "train" if i < each // 2 else splits[i % len(splits)]
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            size = path.stat().st_size
            row = [source_id, size, 1, digest, "x", side + 10, side, "PNG", "RGB", label, split, ""]
            manifest.append(row)
        for split in splits:
            mine = [i for i in range(each // 2, each) if splits[i % len(splits)] == split]
            for i in mine:
                said = (k + 1) % len(classes) if i == mine[-1] else k
                p_said = 0.9 + 0.09 * k / len(classes)
                p = [(1 - p_said) / (len(classes) - 1)] * len(classes)
                p[said] = p_said
                loss = -np.log(p[k])
                confusion[split][k, said] += 1
                predictions.append([split, ids[i], label, classes[said], loss, *p])
                if said != k and split == splits[-1]:
                    wrong.append((loss, ids[i]))
    head = "path size_bytes mtime_ns sha256 pixel_sha256 width_px height_px format mode class"
    write_csv(run / "manifest.csv", [*head.split(), "split", "error"], manifest)
    columns = ["split", "path", "true", "predicted", "loss", *(f"p:{name}" for name in classes)]
    write_csv(run / "predictions.csv", columns, predictions)
    report = metrics(classes, confusion)
    (run / "metrics.json").write_text(json.dumps(report.to_dict()))
    left_out = [{"path": "0/broken.png", "reason": "truncated"}]
    split_file = {"classes": list(classes), "seed": 0, "given": False, "splits": {}, "leaks": []}
    (run / "split.json").write_text(json.dumps(split_file | {"left_out": left_out}))
    found = Finding("warning", "tiny", "2 pictures under 16 px", ("0/a.png", "0/b.png"), "look")
    (run / "findings.json").write_text(json.dumps([found.to_dict()]))
    settings = {"data": str(data), "model": "tinyvgg", "epochs": 20, "lr": 0.001, "seed": 0}
    (run / "config.yaml").write_text(yaml.safe_dump(settings | {"monitor": "val_loss"}))
    (run / "env.json").write_text(json.dumps({"versions": {"torch": "2.9.1"}, "seed": 0}))
    ordered = tuple(source_id for _, source_id in sorted(wrong, key=lambda row: (-row[0], row[1])))
    example = Example(run, data, tuple(classes), ordered, report)
    example.write_history(epochs=6)
    return example


def metrics(classes: Sequence[str], confusion: dict[str, np.ndarray]) -> Report:
    """Numbers that fit the matrices, with intervals that are told apart from everything else."""
    report = Report(settings={"interval": "95%", "classes": list(classes)})
    for split, table in confusion.items():
        count = int(table.sum())
        accuracy = float(np.trace(table) / count)
        low, high = max(0.0, accuracy - 0.1234), min(1.0, accuracy + 0.0567)
        report.add(split, "all", "accuracy", Value(accuracy, count, low, high, "wilson"))
        report.add(split, "all", "macro_f1", Value(0.6181, count, 0.5, 0.7, "bootstrap"))
        report.add(split, "all", "log_loss", Value(0.7321, count))
        report.add(split, "all", "baseline_accuracy", Value(0.3217, count))
        for k, name in enumerate(classes):
            support = int(table[k].sum())
            for metric, value in (("precision", 0.4321), ("recall", 0.5678), ("f1", 0.4908)):
                value += 0.0001 * k
                report.add(split, f"class:{name}", metric, Value(value, support, 0.2109, 0.8771))
            report.add(split, f"class:{name}", "support", Value(support, support))
        report.tables[f"confusion/{split}"] = table.tolist()
    return report


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """As the run folder writes them: UTF-8, bytes of names kept."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


VOID = {"meta", "link", "img", "br", "hr", "input", "col", "base"}


class Page(HTMLParser):
    """`texts`: the text of each element by tag; `tags`: (tag, attributes) in order; `errors`:
    tags that do not close as they open.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_bytes().decode("utf-8")
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.errors: list[str] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(self.source)
        self.close()
        self.errors += [f"<{tag}> is never closed" for tag, _ in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append((tag, []))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1][0] != tag:
            self.errors.append(f"</{tag}> inside {[name for name, _ in self._open[-2:]]}")
            return
        _, parts = self._open.pop()
        self.texts.append((tag, " ".join("".join(parts).split())))

    def handle_data(self, data: str) -> None:
        for _, parts in self._open:
            parts.append(data)

    def all(self, tag: str) -> list[str]:
        """The text of every `tag`, in the order in which they end."""
        return [text for name, text in self.texts if name == tag]

    def attributes(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every `tag`."""
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        """Everything that is read, styles left out."""
        return next(text for name, text in self.texts if name == "body")

    def sections(self) -> list[str]:
        """The ids of the sections that are there."""
        return [attributes["id"] for attributes in self.attributes("section")]


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Example]:
    """`build_run` in the test's own folder."""
    return functools.partial(build_run, tmp_path)


@pytest.fixture
def report() -> Callable[..., Page]:
    """Write the report of an `Example` and take it apart; it must be well-formed."""

    def function(example: Example, **options: object) -> Page:
        options.setdefault("data_root", example.data)
        path = write_report(example.run, **options)
        assert path == example.run / "report.html"
        page = Page(path)
        assert page.errors == []
        return page

    return function


@pytest.fixture
def page_of() -> type[Page]:
    """The parser alone, for pages that no `Example` stands behind."""
    return Page
