"""The page says what the run folder says, whatever is in it and whatever is missing."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from opsin.core.errors import WrongUsage
from opsin.data.balance import choose_balance
from opsin.evaluation.predictions import PredictionTable
from opsin.report.html import write_report
from opsin.report.read import read_run
from opsin.report.worst import worst_pictures

Make = Callable[..., Any]
ALL = ["data", "learning", "numbers", "confusion", "classes", "mistakes", "settings", "repeat"]


def test_every_part_is_there_and_says_the_numbers_of_metrics_json(
    make_run: Make, report: Make
) -> None:
    example = make_run(("cat", "dog", "owl"))
    page = report(example)
    assert page.sections() == ALL
    accuracy = example.wrote["test", "all", "accuracy"]
    assert accuracy.count == 6
    text = page.text.replace("\u00a0", " ")
    assert f"{100 * accuracy.value:.1f} %" in text
    assert "of 6 test pictures named right" in text
    assert f"95 % interval {100 * accuracy.low:.1f}–{100 * accuracy.high:.1f} %" in text
    assert "baseline 32.2 %" in text
    rows = [row.replace("\u00a0", " ") for row in page.all("tr")]
    assert "0.732" in next(row for row in rows if row.startswith("test6 pictures"))
    for k, name in enumerate(example.classes):
        (line,) = [row for row in rows if row.startswith(f"{name}2 pictures")]
        for value in (0.4321, 0.5678, 0.4908):
            assert f"{100 * (value + 0.0001 * k):.1f} %" in line
        assert line.count("21.1–87.7 %") == 3
    assert "cat, dog or owl?" in page.all("h1")
    assert "tinyvgg, trained on 9 pictures for 6 epochs of at most 20, 9.0 s." in text
    assert "Best validation loss: 0.432 in epoch 4 (stage all)." in text
    assert page.all("pre") == [f"opsin train {example.data} --config {example.run}/config.yaml"]
    assert "2 pictures under 16 px To do: look" in text
    assert "0/broken.png: truncated" in text


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("weights", ("20, each counts ×0.55", "2, each counts ×5.5")),
        ("sampling", ("20, each drawn 0.55 times an epoch", "2, each drawn 5.5 times an epoch")),
        ("none", ("20", "2")),
    ],
)
def test_what_each_class_counted_stands_beside_its_recall(
    make_run: Make, report: Make, setting: str, says: tuple[str, str]
) -> None:
    example = make_run(("cat", "dog"))
    assert "Learnt from" not in report(example).all("th")
    balance = choose_balance([0] * 20 + [1] * 2, example.classes, setting).to_dict()
    wrote = example.wrote.to_dict()
    for table, shown in [
        (balance, says),
        ({"mode": 3}, ()),
        ([1], ()),
        (balance | {"classes": [{}]}, ()),
    ]:
        wrote["tables"]["balance"] = table
        (example.run / "metrics.json").write_text(json.dumps(wrote))
        page = report(example)
        heads = page.all("th")
        if not shown:
            assert "Learnt from" not in heads
            continue
        assert heads[heads.index("Recall") + 1] == "Learnt from"
        cells = page.all("td")
        for text in shown:
            assert text in cells


def test_confusion_matrix_holds_the_counts(make_run: Make, report: Make) -> None:
    example = make_run(("cat", "dog", "owl"), each=12)
    table = example.wrote.tables["confusion/test"]
    page = report(example)
    rows = page.all("tr")
    for name, counts in zip(example.classes, table, strict=True):
        assert f"{name}{''.join(map(str, counts))}" in [row.replace(" ", "") for row in rows]
    assert [c.get("class") for c in page.attributes("td")].count("hit strong") == 3


def test_nothing_comes_from_outside_and_nothing_runs(make_run: Make, report: Make) -> None:
    page = report(make_run())
    spaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"\w+://[^\s\"'<>)]*", page.source)) <= spaces
    assert not re.search(r"url\((?!#)|@import|src=(?!\"data:)", page.source)
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("href", "xlink:href"):
            assert attributes.get(name, "#").startswith("#")
    (policy,) = [m for m in page.attributes("meta") if "http-equiv" in m]
    assert policy["content"].startswith("default-src 'none'")
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    targets = [a["href"][1:] for a in page.attributes("a")]
    assert targets == ALL


HOSTILE = [
    "<script>alert(1)</script>".replace("/", "\u2215") + ".png",
    '"><img src=x onerror=alert(1)>.png',
    "line\nbreak\x1b[31m.png",
    "{{ 7 * 7 }}{% raw %}.png",
    "\U0001f431 emoji é.png",
    os.fsdecode(b"not utf-8 \xff\xfe.png"),
    "evil\u202egnp.exe.png",
    "x" * 251 + ".png",
]


def test_hostile_names_are_shown_escaped(make_run: Make, report: Make) -> None:
    classes = ["<b onclick=alert(1)>&amp;", "$\\frac{1}{", "a\nb\udcff", "😀" * 3]
    example = make_run(classes, each=16, names=HOSTILE)
    page = report(example)
    plain = report(make_run(under="plain", each=16))
    allowed = {(tag, *sorted(attributes)) for tag, attributes in plain.tags}
    found = {(tag, *sorted(attributes)) for tag, attributes in page.tags}
    assert found - allowed <= {("br",)}  # four classes instead of two, and nothing else is new
    shown = [a["alt"] for a in page.attributes("img")]
    want = [
        "<script>alert(1)<\u2215script>.png",
        '"><img src=x onerror=alert(1)>.png',
        r"line\nbreak\x1b[31m.png",
        "{{ 7 * 7 }}{% raw %}.png",
        "\U0001f431 emoji é.png",
        r"not utf-8 \xff\xfe.png",
        r"evil\u202egnp.exe.png",
        "x" * 251 + ".png",
    ]
    assert {f"0/{name}" for name in want} <= set(shown)
    for name in ("<b onclick=alert(1)>&amp;", "$\\frac{1}{", r"a\nb\xff", "😀😀😀"):
        assert name in page.all("bdi")
    assert "\x1b" not in page.source
    assert "\u202e" not in page.source


def test_worst_pictures_are_the_sure_mistakes_of_the_test_set(make_run: Make, report: Make) -> None:
    example = make_run(("cat", "dog", "owl"), each=12)
    table = PredictionTable.read(example.run / "predictions.csv")
    worst = worst_pictures(table, 2)
    assert [row.path for row in worst] == list(example.wrong[:2])
    assert worst[0].true == "owl"
    assert worst[0].predicted == "cat"
    assert worst[0].probability == pytest.approx(0.96)
    assert worst[0].true_probability == pytest.approx(0.02)
    page = report(example)
    articles = [text.replace("\u00a0", " ") for text in page.all("article")]
    assert len(articles) == 3
    assert articles[0] == f"namedcat96.0 % filed asowl2.0 % {example.wrong[0]}"


def test_heat_is_drawn_over_the_picture(make_run: Make, report: Make) -> None:
    example = make_run()
    heat = np.zeros((8, 8), np.float32)
    heat[:, :4] = 1
    page = report(example, heatmaps={example.wrong[0]: heat})
    images = page.attributes("img")
    (index,) = [i for i, a in enumerate(images) if a["alt"].startswith("Grad-CAM")]
    assert images[index - 1]["alt"] == example.wrong[0]
    picture, over = decoded(images[index - 1]["src"]), decoded(images[index]["src"])
    assert picture.shape == over.shape == (90, 100, 3)
    assert np.ptp(picture.astype(int)) < 12  # one flat grey
    left, right = over[20:70, 10:40].astype(int), over[20:70, 60:90].astype(int)
    assert np.ptp(left.mean((0, 1))) > 60  # coloured where it is hot
    assert np.ptp(right.mean((0, 1))) < 6  # grey where it is not


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))


@pytest.mark.parametrize(
    ("gone", "missing"),
    [
        (["predictions.csv"], ["mistakes"]),
        (["metrics.json"], ["numbers", "confusion", "classes"]),
        (["history.csv"], ["learning"]),
        (["manifest.csv"], ["data"]),
        (["findings.json"], []),
        (["split.json", "env.json"], []),
        (["config.yaml"], ["repeat"]),
        (["metrics.json", "predictions.csv", "history.csv"], ALL[1:6]),
    ],
)
def test_missing_parts_are_left_out(
    make_run: Make, report: Make, gone: list[str], missing: list[str]
) -> None:
    example = make_run()
    for name in gone:
        (example.run / name).unlink()
    page = report(example)
    assert page.sections() == [name for name in ALL if name not in missing]
    assert "could not be read" not in page.text
    assert ("no evaluation in this run folder" in page.text) == ("metrics.json" in gone)


def test_an_empty_run_folder_still_makes_a_page(tmp_path: Path, page_of: Make) -> None:
    path = write_report(tmp_path, data_root=None)
    page = page_of(path)
    assert page.errors == []
    assert page.sections() == []
    assert "no epoch has been finished" in page.text


def test_without_a_test_set_the_validation_set_counts_and_is_said_to(
    make_run: Make, report: Make
) -> None:
    example = make_run(splits=("val",))
    text = report(example).text
    assert "validation pictures named right" in text
    assert "There is no test set" in text
    assert len(example.wrong) == 2


@pytest.mark.parametrize("name", ["metrics.json", "history.csv", "predictions.csv", "split.json"])
def test_a_damaged_part_is_named(make_run: Make, report: Make, name: str) -> None:
    example = make_run()
    text = (example.run / name).read_text()
    (example.run / name).write_text(text[: len(text) // 2])
    page = report(example)
    assert f"{name} could not be read" in page.text


def test_interrupted_after_one_epoch(make_run: Make, report: Make) -> None:
    example = make_run()
    example.write_history(epochs=1)
    for name in ("metrics.json", "predictions.csv"):
        (example.run / name).unlink()
    page = report(example)
    assert "for 1 epoch of at most 20" in page.text
    assert len(page.attributes("svg")) == 2


def test_pictures_that_are_gone_changed_or_broken(make_run: Make, report: Make) -> None:
    example = make_run()
    gone, changed = "0/0.png", "0/1.png"
    (example.data / gone).unlink()
    Image.new("RGB", (50, 50), "red").save(example.data / changed)
    page = report(example)
    placeholders = {a["aria-label"] for a in page.attributes("span") if a.get("class") == "gone"}
    assert placeholders == {f"{gone}: no longer there", f"{changed}: changed since the training"}

    def refuse(_path: Path) -> object:
        raise ValueError("broken")

    page = report(example, decode=refuse)
    assert not page.attributes("img")
    assert "cannot be read" in page.text


def test_no_data_folder_means_no_pictures(make_run: Make, report: Make) -> None:
    example = make_run()
    page = report(example, data_root=None)
    assert not page.attributes("img")
    assert page.text.count("no data folder given") == 2  # the two mistakes; there is no grid


def test_a_source_id_cannot_lead_out_of_the_data_folder(
    tmp_path: Path, make_run: Make, report: Make
) -> None:
    example = make_run()
    Image.new("RGB", (99, 99), "red").save(tmp_path / "secret.png")
    for name in ("manifest.csv", "predictions.csv"):
        path = example.run / name
        text = path.read_text().replace("0/0.png", "../secret.png")
        path.write_text(text.replace("1/0.png", str(tmp_path / "secret.png")))
    page = report(example)
    assert page.text.count("outside the data folder") == 2


def test_many_classes_show_the_confused_pairs(make_run: Make, report: Make) -> None:
    example = make_run([f"class {i:03d}" for i in range(60)], each=4, side=12)
    page = report(example)
    assert "20 most frequent of 60 kinds of mistakes" in page.text
    assert "Which of 60 classes?" in page.all("h1")
    assert "40 classes between these" in page.text
    assert "matrix" not in [a.get("class", "").split(" ")[0] for a in page.attributes("table")]
    assert "36 of 60 classes" in page.text
    assert len(page.source) < 1_000_000
    assert all(a["class"] == "pic tiny" for a in page.attributes("img"))


def test_two_classes_up_to_thirty_show_the_matrix(make_run: Make, report: Make) -> None:
    page = report(make_run([f"c{i}" for i in range(30)], each=4, side=12))
    (matrix,) = [a for a in page.attributes("table") if "matrix" in a["class"]]
    assert matrix["class"] == "matrix dense upright"


def test_same_run_same_bytes(make_run: Make, report: Make) -> None:
    example = make_run()
    first = report(example).source
    assert report(example).source == first
    assert not [p for p in example.run.iterdir() if p.name.endswith(".tmp")]


def test_global_plot_settings_neither_matter_nor_change(make_run: Make, report: Make) -> None:
    import matplotlib as mpl

    example = make_run()
    first = report(example).source
    before = dict(mpl.rcParams)
    with mpl.rc_context({"axes.facecolor": "#123456", "lines.linewidth": 9, "font.size": 40}):
        assert report(example).source == first
        assert mpl.rcParams["font.size"] == 40
    assert dict(mpl.rcParams) == before


def test_no_pyplot_and_no_torch(make_run: Make) -> None:
    example = make_run()
    code = (
        "import sys; from pathlib import Path; from opsin.report.html import write_report\n"
        "assert 'matplotlib' not in sys.modules and 'jinja2' not in sys.modules\n"
        f"write_report(Path({str(example.run)!r}), data_root=Path({str(example.data)!r}))\n"
        "print([m for m in ('torch', 'matplotlib.pyplot', 'captum') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_not_a_folder(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="no such run folder"):
        write_report(tmp_path / "nowhere", data_root=None)


def test_given_commands_and_quoted_default(make_run: Make, report: Make) -> None:
    example = make_run(under="with space")
    assert report(example, commands=["opsin train 'a b' <x>", "two"]).all("pre") == [
        "opsin train 'a b' <x>",
        "two",
    ]
    assert f"'{example.data}'" in report(example).all("pre")[0]


def test_read_run_keeps_the_bytes_of_names(make_run: Make) -> None:
    name = os.fsdecode(b"\xff\n.png")
    example = make_run(names=[name])
    run = read_run(example.run)
    assert run.pictures[0].path == f"0/{name}"
    assert (example.data / run.pictures[0].path).exists()
    assert run.unread == ()


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("classes", [("x" * 200, "dog"), [f"class {i:03d}" for i in range(40)]])
def test_a_narrow_window_does_not_scroll_sideways(
    tmp_path: Path, make_run: Make, report: Make, classes: tuple[str, ...]
) -> None:
    """The page in a frame of 380 px, its policy taken out so that a script can measure it."""
    example = make_run(classes, each=6, names=HOSTILE[:3], side=12)
    report(example)
    source = (example.run / "report.html").read_text()
    source = re.sub(r"<meta http-equiv[^>]*>", "", source)
    told = "parent.postMessage([innerWidth, document.documentElement.scrollWidth].join(), '*')"
    page = source.replace("</body>", f"<script>{told}</script></body>")
    frame = tmp_path / "frame.html"
    listen = "onmessage = e => { document.title = 'measured ' + e.data }"
    inside = json.dumps(page).replace("</", "<\\/")
    frame.write_text(
        f"<script>{listen}</script><iframe id=f style='width:380px;height:900px;border:0'></iframe>"
        f"<script>f.srcdoc = {inside}</script>"
    )
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
        "--disable-background-networking --disable-component-update --virtual-time-budget=5000 "
        "--dump-dom"
    )
    done = subprocess.run(
        [str(CHROMIUM), *flags.split(), f"--user-data-dir={tmp_path}/profile", f"file://{frame}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = re.search(r"<title>measured (\d+),(\d+)", done.stdout)
    assert found, done.stdout[:500]
    width, needed = map(int, found.groups())
    assert 360 <= width <= 380
    assert needed <= width
