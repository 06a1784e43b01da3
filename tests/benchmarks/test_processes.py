"""A process that fails says why; its output and its family's memory are seen."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from environments import python_of
from processes import Failed, run
from resident import watched


def test_what_a_process_wrote_comes_back(tmp_path: Path) -> None:
    program = "import os; print(os.environ['COLOUR'], os.path.basename(os.getcwd()))"
    ran = run([sys.executable, "-c", program], environment={"COLOUR": "red"}, folder=tmp_path)
    assert ran.output.split() == ["red", tmp_path.name]
    assert ran.wall_s > 0
    assert ran.peak_mb > 1


def test_a_process_that_fails_says_its_last_line() -> None:
    with pytest.raises(Failed, match="exit 1: ValueError: no such thing"):
        run([sys.executable, "-c", "raise ValueError('no such thing')"])


def test_children_count(tmp_path: Path) -> None:
    child = "import time; held = bytearray(b'x') * 60_000_000; time.sleep(1)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    alone = watched([sys.executable, "-c", "import time; time.sleep(.5)"], {}, tmp_path)
    both = watched([sys.executable, "-c", program], {}, tmp_path)
    assert both.own > alone.own + 60


def test_an_environment_is_installed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def uv(*arguments: str) -> None:
        asked.append(arguments)
        if arguments[0] == "venv":
            python = Path(arguments[-1], "bin", "python")
            python.parent.mkdir(parents=True)
            python.touch()

    monkeypatch.setattr("environments._uv", uv)
    python_of.cache_clear()
    first = python_of("opencv", tmp_path)
    python_of.cache_clear()
    assert python_of("opencv", tmp_path) == first
    assert [arguments[0] for arguments in asked] == ["venv", "pip"]


def test_every_row_names_peers_that_are_there() -> None:
    from environments import REQUIREMENTS
    from rows.listed import ROWS
    from rows.training import PEERS

    assert list(ROWS)
    for environment, script, _ in PEERS.values():
        assert (REQUIREMENTS / f"{environment}.txt").is_file()
        assert (REQUIREMENTS / script).is_file()


def test_pins_are_exact_and_name_no_address() -> None:
    from environments import REQUIREMENTS

    for file in REQUIREMENTS.glob("*.txt"):
        text = file.read_text("utf-8")
        assert "://" not in text
        for line in text.splitlines():
            assert line.startswith("#") or "==" in line, f"{file.name}: {line}"


def test_a_plot_tells_a_line_from_a_curve(tmp_path: Path) -> None:
    plot = Path(__file__).parents[2] / "benchmarks" / "plot_growth.py"
    points = {"line": [[1, 3], [2, 5], [3, 7]], "curve": [[1, 1], [2, 16], [3, 81]]}
    (tmp_path / "points.json").write_text(json.dumps(points), "utf-8")
    ran = run([sys.executable, str(plot), str(tmp_path / "points.json"), str(tmp_path / "p.svg")])
    fits = json.loads(ran.output)
    assert fits["line"]["r2"] == pytest.approx(1)
    assert (fits["line"]["per_unit_s"], fits["line"]["fixed_s"]) == pytest.approx((2, 1))
    assert fits["curve"]["r2"] < 0.95
    assert (tmp_path / "p.svg").read_text("utf-8").lstrip().startswith("<?xml")
