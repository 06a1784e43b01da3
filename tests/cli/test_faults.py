"""How a command ends when the system refuses something, and what is said then."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.command import opsin

from opsin.api.run_result import RunResult
from opsin.cli.faults import explain, run_and_explain
from opsin.cli.system_faults import system_fault
from opsin.core.errors import WrongUsage
from opsin.core.printable import printable
from opsin.data.decode import Limits, Undecodable, decode_file

SRC = Path(__file__).parents[2] / "src" / "opsin"


class Failing:
    """A command that ends as it is told."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def main(self, **_: object) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/b.json"), 6, "/a/b.json: disk full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "b.json"), 6, "b.json: disk full"),
        (OSError(errno.EROFS, "Read-only file system", "b"), 6, "Read-only file system"),
        (OSError(errno.ENOSPC, "No space left on device"), 6, "standard output: disk full"),
        (PermissionError(errno.EACCES, "Permission denied", "new.txt"), 6, "cannot be written"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x.jpg"), 2, "x.jpg: cannot be used: No"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300), 2, "give a shorter name"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 7, "not enough memory"),
        (UnicodeEncodeError("utf-8", "a\ud800b", 1, 2, "surrogates not allowed"), 2, r"a\ud800b"),
        (UnicodeDecodeError("utf-8", b"ab\xff", 2, 3, "invalid start byte"), 2, "byte 2 is 0xff"),
        (OSError("no number, so nobody knows what it is"), 70, "bug of Opsin"),
        (OSError(errno.EBADF, "Bad file descriptor"), 70, "bug of Opsin"),
        (TimeoutError(), 70, "bug of Opsin"),
        (ValueError("x"), 70, "bug of Opsin"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_every_end_has_its_code(
    error: BaseException, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_and_explain(Failing(error), []) == code
    said = capsys.readouterr().err
    assert says in said
    assert code == 70 or said.startswith("error: ")
    with pytest.raises(type(error)):
        run_and_explain(Failing(error), [], debug=True)


def test_denied_means_reading_where_the_file_could_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret.json"
    path.touch()
    error = PermissionError(errno.EACCES, "Permission denied", str(path))
    for readable, code in ((True, 6), (False, 2)):
        monkeypatch.setattr("os.access", lambda *_, answer=readable: answer)
        fault = system_fault(error)
        assert fault is not None
        assert fault.exit_code == code


def test_paths_that_no_system_takes(tmp_path: Path) -> None:
    for words in (["check", "x" * 300], ["train", "x" * 300]):
        done = opsin(*words, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert "bug" not in done.stderr
    (tmp_path / "c.yaml").write_text('data: "a\\ud800b"\n')
    done = opsin("train", "--config", "c.yaml", cwd=tmp_path)
    assert done.returncode == 2, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [["doctor"], ["doctor", "--json"]])
def test_standard_output_that_takes_nothing(words: list[str], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "opsin", *words],
            cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert done.stderr.startswith("error: standard output: disk full")
    assert "Exception ignored" not in done.stderr


def test_a_terminal_that_knows_few_letters(digits: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from opsin.cli.main import main; main()", "check", str(digits)],
        cwd=tmp_path, env=os.environ | {"PYTHONIOENCODING": "cp1252"},
        capture_output=True, encoding="cp1252", check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert r"\u2717 truncated" in done.stdout


def test_faults_of_pictures_are_said_with_their_code(
    trained: RunResult, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As FAULTS.md writes them: rows 1, 5 and 6."""
    (tmp_path / "empty.png").write_bytes(b"")
    done = opsin("predict", trained.path, "empty.png", cwd=tmp_path)
    assert "error: empty.png: empty_file: the file has 0 bytes\n" in done.stderr
    picture = max((digits / "7").glob("*.png"))
    for limits, says in (
        (Limits(max_pixels=900), "too_many_pixels: 0.001024 MP, limit 0.0009 MP"),
        (Limits(min_side_px=64), "too_small: 32×32, minimum 64×64"),
    ):
        with pytest.raises(Undecodable) as caught:
            decode_file(picture, limits=limits)
        explain(caught.value, as_json=False)
        assert f"error: {picture}: {says}\n" in capsys.readouterr().err
    explain(WrongUsage("no such run", code="no_such_run", where="x"), as_json=False)
    assert capsys.readouterr().err == "error: x: no such run\n"


def test_one_rule_for_what_can_be_shown() -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert printable(f"{family} é\u00a0x") == f"{family} é\u00a0x"
    assert printable("a\nb\x1b[1m\x9b") == r"a\nb\x1b[1m\x9b"
    assert printable("bad\udcff evil\u202egnp.exe") == r"bad\xff evil\u202egnp.exe"
    printable("".join(map(chr, range(0x110000)))).encode("utf-8")
    homes = [path for path in SRC.rglob("*.py") if "def printable(" in path.read_text("utf-8")]
    assert homes == [SRC / "core" / "printable.py"]
