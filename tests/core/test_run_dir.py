"""Run folders: never overwritten, locked while in use, latest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from opsin.core.errors import Locked, WrongUsage
from opsin.core.run_dir import (
    create_run,
    follow_latest,
    open_run,
    point_latest,
    read_rows,
    write_rows,
)


def test_names_are_numbered_and_latest_follows(tmp_path: Path) -> None:
    first, second = create_run(tmp_path, "a"), create_run(tmp_path, "a")
    assert [first.path.name, second.path.name] == ["a", "a-2"]
    second.config.write_text("data: x\n")
    assert not (tmp_path / "latest").exists(), "nothing to be found there yet"
    point_latest(second.path)
    assert open_run(tmp_path / "latest").path == second.path.resolve()


def test_latest_as_a_text_file_where_links_are_not_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(tmp_path, "a")
    run.config.write_text("data: x\n")

    def refuse(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(Path, "symlink_to", refuse)
    point_latest(run.path)
    assert (tmp_path / "latest").is_file()
    assert open_run(tmp_path / "latest").path == run.path.resolve()
    assert follow_latest(tmp_path / "latest") == run.path


def test_a_second_process_is_told_who_holds_it(tmp_path: Path) -> None:
    run = create_run(tmp_path, "a")
    code = (
        "import sys; from pathlib import Path; from opsin.core.run_dir import RunDir\n"
        "with RunDir(Path(sys.argv[1])).locked(): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)], stdin=-1, stdout=-1, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Locked, match=f"process {holder.pid}"), run.locked():
            pass
    finally:
        holder.kill()
        holder.communicate()
    with run.locked():  # the lock of a dead process is taken over
        pass


def test_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="no such run"):
        open_run(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WrongUsage, match="not a run folder"):
        open_run(tmp_path / "empty")


def test_rows_keep_hostile_names(tmp_path: Path) -> None:
    names = [
        "a,b.png",
        'say "hi".png',
        "new\nline.png",
        "a\rb.png",
        "a\r\nb.png",
        "\udcff.png",
        "ä😀.png",
        "=1+1.png",
    ]
    write_rows(tmp_path / "a.csv", ["path"], [[name] for name in names])
    assert [row["path"] for row in read_rows(tmp_path / "a.csv")] == names
