"""`opsin augment`."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image
from tests.cli.command import opsin


def test_a_sheet_and_the_next_command(digits: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    done = opsin(
        "augment", str(digits), "--augment", "flip, cutmix", "--rows", "2", "--columns", "3",
        "--image-size", "32", "-o", sheet, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(sheet.name) in done.stdout
    assert f"next    opsin train {digits} --augment flip,cutmix" in done.stdout
    with Image.open(sheet) as image:
        assert image.format == "PNG"
        assert image.width > 3 * 150
    again = opsin("augment", str(digits), "--rows", "1", "-o", sheet, "--json", cwd=tmp_path)
    assert json.loads(again.stdout)["recipe"] == "light"


def test_list_code_and_faults(tmp_path: Path) -> None:
    assert "degrees" in opsin("augment", "--list", cwd=tmp_path).stdout
    code = opsin("augment", "photos", "--show-code", cwd=tmp_path).stdout
    assert 'opsin.augment("photos", augment="light"' in code
    wrong = opsin("augment", str(tmp_path), "--augment", "rotat", cwd=tmp_path)
    assert wrong.returncode == 2
    assert 'did you mean "rotate"' in wrong.stderr
    assert opsin("augment", cwd=tmp_path).returncode == 2
