"""`opsin predict RUN -`: bytes from whoever, on stdin."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from tests.cli.command import opsin

from opsin.api.run_result import RunResult
from opsin.cli.predict import _keep


class Endless(io.RawIOBase):
    """A stream that never ends, and counts."""

    given = 0

    def read(self, size: int = -1) -> bytes:
        assert 0 <= size < 1 << 30, "all of it at once"
        self.given += size
        return bytes(size)


def test_no_more_is_read_than_shows_that_it_is_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opsin.data.decode.MAX_FILE_BYTES", 5_000_000)
    stream = Endless()
    _keep(stream, tmp_path / "kept")  # type: ignore[arg-type]
    assert stream.given == (tmp_path / "kept").stat().st_size == 5_000_001


def test_a_fault_names_stdin_and_no_file_of_ours(trained: RunResult, tmp_path: Path) -> None:
    done = opsin("predict", trained.path, "-", "--json", cwd=tmp_path, stdin=b"")
    assert done.returncode == 3
    (row,) = json.loads(done.stdout)["predictions"]
    assert row["source"] == row["error"]["where"] == "-"
    assert row["error"]["code"] == "empty_file"
