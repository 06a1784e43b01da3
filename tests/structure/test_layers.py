"""The order of the rooms holds, and the tool that says so sees what it must."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
SETTINGS = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["tool"]

TOY_CONTRACTS = """
[tool.importlinter]
root_package = "toy"

[[tool.importlinter.contracts]]
name = "toy layers"
type = "layers"
containers = ["toy"]
layers = ["upper", "lower"]
"""


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the pyproject.toml and the package in `folder`, without its cache."""
    program = (
        "import sys; from importlinter.cli import lint_imports_command as command; "
        "command(['--no-cache'])"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_contracts_hold() -> None:
    result = lint_imports(REPO)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_room_stands_in_the_contract() -> None:
    (contract,) = [c for c in SETTINGS["importlinter"]["contracts"] if c["type"] == "layers"]
    assert contract["exhaustive"]
    named = {room.strip() for line in contract["layers"] for room in line.split("|")}
    there = {path.parent.name for path in (REPO / "src/opsin").glob("*/__init__.py")} | {
        path.stem for path in (REPO / "src/opsin").glob("*.py")
    }
    assert there - {"__init__", *contract["exhaustive_ignores"]} == named


@pytest.mark.parametrize(
    ("lower", "holds"),
    [
        ("", True),
        ("import toy.upper\n", False),
        ("def late() -> None:\n    from toy import upper\n    upper\n", False),
        ("class A:\n    def late(self) -> None:\n        import toy.upper\n", False),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import toy.upper\n", False),
    ],
    ids=["no import", "at the top", "in a function", "in a method", "for types only"],
)
def test_a_wrong_import_is_seen_wherever_it_stands(tmp_path: Path, lower: str, holds: bool) -> None:
    package = tmp_path / "toy"
    package.mkdir()
    (tmp_path / "pyproject.toml").write_text(TOY_CONTRACTS, encoding="utf-8")
    (package / "__init__.py").touch()
    (package / "upper.py").touch()
    (package / "lower.py").write_text(lower, encoding="utf-8")
    result = lint_imports(tmp_path)
    assert result.returncode == (0 if holds else 1), result.stdout + result.stderr
    assert ("toy.lower is not allowed to import toy.upper" in result.stdout) is not holds


def test_pytest_stays_strict() -> None:
    options = SETTINGS["pytest"]["ini_options"]
    assert options["filterwarnings"] == ["error"]
    assert options["xfail_strict"] is True
    assert {"--strict-markers", "--strict-config"} <= set(options["addopts"].split())


def test_types_stay_strict() -> None:
    assert SETTINGS["mypy"]["strict"] is True
