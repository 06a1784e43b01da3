"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import io
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from opsin.core.errors import NoRoom
from opsin.core.files import check_writable, sha256_file, write_bytes, write_json, write_pieces


def test_returns_the_checksum_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    assert write_bytes(path, b"opsin") == hashlib.sha256(b"opsin").hexdigest() == sha256_file(path)
    assert write_bytes(path, b"again") == sha256_file(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_nan_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"NaN|Out of range"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_a_write_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    """A file-size limit stops the write in its middle, as a full disk does."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from opsin.core.files import write_bytes; from opsin.core.errors import NoRoom\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_bytes(Path(sys.argv[1]), b'x' * 100_000)\n"
        "except NoRoom as error: sys.exit(error.exit_code)\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == 6
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_full_disk_is_told_the_whole_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """Also where it fills up before all pieces were made."""
    written = []

    class Full(io.BytesIO):
        def write(self, piece: Any) -> int:
            written.append(piece)
            if len(written) == fails_at:
                raise OSError(errno.ENOSPC, "No space left on device")
            return len(piece)

    monkeypatch.setattr(Path, "open", lambda *_: Full())
    with pytest.raises(NoRoom, match=r"need 300\.0 kB"):
        write_pieces(tmp_path / "a.bin", (b"x" * 100_000 for _ in range(3)))
    assert len(written) == fails_at


def test_killed_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "import opsin.core.files as files\n"
        "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.write_bytes(Path(sys.argv[1]), b'new')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_bytes() == b"old"


def test_not_writable_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NoRoom) as caught:
        check_writable(tmp_path / "file" / "runs")
    assert "file" in str(caught.value)
    assert caught.value.exit_code == 6
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
