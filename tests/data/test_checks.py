"""Each check sees what is planted for it, and is silent on data without it."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import pytest

from opsin.core.finding import Finding
from opsin.data.checks.registry import CHECKS, run_checks
from opsin.data.checks.scanned import ScannedData
from opsin.data.decode import Note
from opsin.data.formats.folder import read_folder
from opsin.data.index import Index, Rows
from opsin.data.intake import take_in
from opsin.data.record import FileRecord, Records


class Plan:
    """Data in the making: `add` a file, then `check` with one check or all."""

    def __init__(self, *classes: str) -> None:
        self.classes = classes
        self.rows: list[tuple[str, int, str | None]] = []
        self.records: list[FileRecord] = []

    def add(
        self,
        name: str,
        *,
        split: str | None = None,
        pixels: str = "",
        size: tuple[int, int] = (100, 100),
        mode: str = "RGB",
        error: str | None = None,
        notes: Iterable[Note] = (),
        format_: str = "PNG",
    ) -> None:
        """`name`: "class/file"; `pixels`: equal for equal pictures, otherwise the file's own."""
        source_id = f"{split}/{name}" if split else name
        path = Path("/data") / source_id
        self.rows.append((source_id, self.classes.index(name.split("/")[0]), split))
        if error:
            record = FileRecord(source_id, path, error=error, error_message=f"why {error}")
        else:
            record = FileRecord(
                source_id,
                path,
                sha256=sha256(source_id.encode()).hexdigest(),
                pixel_sha256=sha256((pixels or source_id).encode()).hexdigest(),
                width_px=size[0],
                height_px=size[1],
                format=format_,
                mode=mode,
                notes=tuple(notes),
            )
        self.records.append(record)

    def scanned(self) -> ScannedData:
        rows = Rows(Path("/data"), self.rows)
        index = Index(Path("/data"), self.classes, rows, ())
        return ScannedData(index, Records.of(rows, self.records))

    def check(self, name: str) -> list[Finding]:
        return list(CHECKS.load(name)(self.scanned()))


def clean(split: str | None = None, count: int = 5) -> Plan:
    plan = Plan("cat", "dog")
    for number in range(count):
        plan.add(f"cat/{number}.png", split=split)
        plan.add(f"dog/{number}.png", split=split)
    return plan


@pytest.mark.parametrize("name", list(CHECKS))
def test_nothing_is_wrong_with_clean_data(name: str) -> None:
    assert [f for f in clean().check(name) if f.severity != "info"] == []


@pytest.mark.parametrize("name", list(CHECKS))
def test_no_check_trips_over_an_empty_index(name: str) -> None:
    Plan("cat", "dog").check(name)
    Plan().check(name)


def test_records_of_other_files_are_refused() -> None:
    plan = clean()
    with pytest.raises(ValueError, match="not of the same files"):
        ScannedData(plan.scanned().index, plan.scanned().records)


def test_unreadable_files_are_named_one_by_one() -> None:
    plan = clean()
    plan.add("cat/bad.png", error="truncated")
    plan.add("dog/bad.png", error="permission_denied")
    first, second = plan.check("unreadable")
    assert (first.severity, first.code, first.message, first.where) == (
        "error",
        "truncated",
        "why truncated",
        ("cat/bad.png",),
    )
    assert second.code == "permission_denied"
    assert "run as a user" in second.fix


def test_a_picture_under_two_classes() -> None:
    plan = clean()
    plan.add("cat/x.png", pixels="p")
    plan.add("dog/y.bmp", pixels="p")
    (found,) = plan.check("conflicting_labels")
    assert found.severity == "error"
    assert found.where == ("cat/x.png", "dog/y.bmp")
    assert '"cat" and "dog"' in found.message
    assert plan.check("duplicates") == []


def test_duplicates_in_one_class() -> None:
    plan = clean()
    for name in ("x", "y", "z"):
        plan.add(f"cat/{name}.png", pixels="p")
    (found,) = plan.check("duplicates")
    assert (found.severity, found.code) == ("warning", "duplicate")
    assert found.where == ("cat/x.png", "cat/y.png", "cat/z.png")
    assert plan.check("conflicting_labels") == []


def test_unreadable_files_are_no_duplicates_of_each_other() -> None:
    plan = clean()
    plan.add("cat/x.png", error="empty_file")
    plan.add("dog/y.png", error="empty_file")
    assert plan.check("duplicates") == plan.check("conflicting_labels") == []


def test_a_leak_between_given_splits() -> None:
    plan = clean("train", 10)
    for number in range(200):
        plan.add(f"cat/v{number}.png", split="val", pixels=f"v{number}")
    plan.add("dog/v.png", split="val")
    for number in range(81):
        plan.add(f"cat/t{number}.png", split="train", pixels=f"v{number}")
    (found,) = plan.check("leak")
    assert found.severity == "warning"
    assert found.message == "81 pairs (40.3 % of validation)"
    assert len(found.where) == 81
    assert all(source_id.startswith("val/") for source_id in found.where)
    assert plan.check("duplicates") == []


def test_a_leak_counts_pairs_and_files_apart() -> None:
    plan = clean("train")
    plan.add("cat/1t.png", split="train", pixels="p")
    plan.add("cat/2t.png", split="train", pixels="p")
    plan.add("cat/1.png", split="test", pixels="p")
    plan.add("dog/1.png", split="test")
    (found,) = plan.check("leak")
    assert found.message == "2 pairs (50.0 % of test)"
    assert found.where == ("test/cat/1.png",)


def test_a_leak_between_validation_and_test() -> None:
    plan = clean("train")
    plan.add("cat/1.png", split="val", pixels="p")
    plan.add("cat/1.png", split="test", pixels="p")
    (found,) = plan.check("leak")
    assert found.message == "1 pair (100.0 % of test, also in validation)"


def test_copies_without_given_splits_do_not_leak() -> None:
    plan = clean()
    plan.add("cat/x.png", pixels="p")
    plan.add("cat/y.png", pixels="p")
    assert plan.check("leak") == []


@pytest.mark.parametrize(("many", "found"), [(50, 0), (51, 1)])
def test_imbalance_is_over_ten_to_one(many: int, found: int) -> None:
    plan = clean()
    for number in range(many - 5):
        plan.add(f"dog/more{number}.png")
    findings = plan.check("imbalance")
    assert len(findings) == found
    if found:
        assert findings[0].message.startswith('10.2 : 1, "dog" has 51 pictures, "cat" 5')
        assert findings[0].severity == "warning"


def size_codes(plan: Plan) -> list[tuple[str, str]]:
    return [(finding.code, finding.message) for finding in plan.check("class_size")]


def test_an_empty_class_and_one_class() -> None:
    plan = clean()
    plan.classes = ("cat", "dog", "emu")
    assert size_codes(plan) == [("empty_class", 'class "emu" has no images')]
    alone = Plan("cat")
    for number in range(5):
        alone.add(f"cat/{number}.png")
    assert size_codes(alone) == [("one_class", 'one class only: "cat"; at least 2 needed')]


@pytest.mark.parametrize(("count", "enough"), [(1, False), (2, False), (3, True)])
def test_three_pictures_are_needed_to_split(count: int, enough: bool) -> None:
    plan = clean()
    plan.classes = ("cat", "dog", "emu")
    for number in range(count):
        plan.add(f"emu/{number}.png")
    plural = "" if count == 1 else "s"
    message = f'class "emu" has {count} usable image{plural}; at least 3 needed to split'
    assert size_codes(plan) == ([] if enough else [("too_few_images", message)])


def test_two_are_needed_where_the_test_set_is_given_and_one_where_both_are() -> None:
    plan = Plan("cat", "dog")
    for number in range(5):
        plan.add(f"cat/{number}.png", split="train")
        plan.add(f"cat/{number}.png", split="test")
        plan.add(f"dog/{number}.png", split="test")
    plan.add("dog/1.png", split="train")
    ((code, message),) = size_codes(plan)
    assert code == "too_few_images"
    assert "at least 2 needed" in message
    plan.add("cat/1.png", split="val")
    assert size_codes(plan) == []


def test_copies_and_contested_pictures_do_not_fill_a_class() -> None:
    plan = clean()
    plan.classes = ("cat", "dog", "emu")
    plan.add("emu/1.png", pixels="p")
    plan.add("emu/2.png", pixels="p")
    plan.add("emu/3.png", pixels="q")
    plan.add("cat/q.png", pixels="q")
    plan.add("emu/4.png", error="truncated")
    ((code, message),) = size_codes(plan)
    assert code == "too_few_images"
    assert 'class "emu" has 1 usable image;' in message


def test_a_test_set_alone_needs_nothing() -> None:
    assert size_codes(clean("test", 1)) == []


def test_extension_mismatch_by_format() -> None:
    plan = clean()
    for name in ("x.jpg", "y.jpg"):
        plan.add(f"cat/{name}", notes=[Note("extension_mismatch", "looks like PNG")])
    plan.add("dog/z.png", format_="WebP", notes=[Note("extension_mismatch", "looks like WebP")])
    png, webp = plan.check("extension_mismatch")
    assert png.message == "looks like PNG: 2 pictures, used as such"
    assert png.where == ("cat/x.jpg", "cat/y.jpg")
    assert webp.where == ("dog/z.png",)


@pytest.mark.parametrize(("size", "tiny"), [((31, 500), True), ((32, 32), False)])
def test_tiny(size: tuple[int, int], tiny: bool) -> None:
    plan = clean()
    plan.add("cat/x.png", size=size)
    findings = plan.check("tiny")
    assert [finding.where for finding in findings] == ([("cat/x.png",)] if tiny else [])
    assert all(finding.severity == "info" for finding in findings)


def test_modes_and_conversions_are_counted() -> None:
    plan = clean()
    plan.add("cat/x.jpg", mode="CMYK", notes=[Note("mode_converted", "CMYK to 8-bit RGB")])
    plan.add("cat/y.jpg", notes=[Note("rotated", "orientation 6")])
    plan.add("cat/z.gif", mode="P", notes=[Note("first_frame", "first_frame_of 37")])
    found = {finding.code: finding for finding in plan.check("converted")}
    assert found["modes"].message == "RGB 11, CMYK 1, P 1"
    assert found["mode_converted"].where == ("cat/x.jpg",)
    assert "CMYK to 8-bit RGB 1" in found["mode_converted"].message
    assert found["rotated"].message.startswith("1 picture turned upright")
    assert found["first_frame"].where == ("cat/z.gif",)
    assert found.pop("first_frame").severity == "warning"
    assert {finding.severity for finding in found.values()} == {"info"}


def test_sizes() -> None:
    plan = clean()
    assert plan.check("sizes")[0].message == "all pictures are 100×100 px"
    plan.add("cat/x.png", size=(400, 200))
    message = plan.check("sizes")[0].message
    assert message == ("100×100 to 400×200 px, median 100×100; width / height from 1.00 to 2.00")


def test_errors_come_first() -> None:
    plan = clean()
    plan.add("cat/x.png", pixels="p", size=(9, 9))
    plan.add("cat/y.png", pixels="p")
    plan.add("cat/bad.png", error="truncated")
    severities = [finding.severity for finding in run_checks(plan.scanned())]
    assert severities == sorted(severities, key=("error", "warning", "info").index)
    assert set(severities) == {"error", "warning", "info"}


def real(folder: Path) -> list[Finding]:
    index = read_folder(folder)
    return run_checks(ScannedData(index, take_in(index).records))


def test_happy_sad_as_it_is_known(shared_data: Path) -> None:
    found: dict[str, list[Finding]] = {}
    for finding in real(shared_data / "happy_sad"):
        found.setdefault(finding.code, []).append(finding)
    assert len(found["conflicting_labels"]) == 1
    assert len(found["duplicate"]) == 1
    assert sum(len(finding.where) for finding in found["extension_mismatch"]) == 6
    assert found["modes"][0].message == "RGB 288, P 7, RGBA 4, L 2"


def test_emotions_leak_between_train_and_validation(shared_data: Path) -> None:
    (leak,) = [f for f in real(shared_data / "emotions_48px") if f.code == "leak"]
    assert leak.message == "4 pairs (0.7 % of validation)"
    by_bytes: dict[bytes, set[str]] = {}
    for path in (shared_data / "emotions_48px").rglob("*.jpg"):
        by_bytes.setdefault(path.read_bytes(), set()).add(
            path.relative_to(shared_data / "emotions_48px").parts[0]
        )
    assert sum(len(splits) > 1 for splits in by_bytes.values()) >= 3
