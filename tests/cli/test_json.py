"""`--json` gives JSON on stdout, however the command ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.command import opsin


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["train", "x", "--epoch", "5"], 2),
        (["train", "x", "--augment", "heavy"], 2),
        (["train", "x", "--epochs", "abc"], 2),
        (["check"], 2),
        (["predict"], 2),
        (["doctor", "--foo"], 2),
        (["train", "nowhere"], 2),
        (["evaluate", "nowhere"], 2),
        (["verify", "nowhere"], 2),
        (["export", "nowhere", "-o", "out"], 2),
        (["trian", "x"], 2),
        (["check", "."], 3),
    ],
)
def test_errors_are_json_too(tmp_path: Path, words: list[str], code: int) -> None:
    done = opsin(*words, "--json", cwd=tmp_path)
    assert done.returncode == code
    error = json.loads(done.stdout)["error"]
    assert error["message"]
    assert "Traceback" not in done.stderr
