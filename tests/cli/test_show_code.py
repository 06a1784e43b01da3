"""`--show-code` prints the twin of the call just typed: run, it does what the command does."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.command import opsin

import opsin as package
from opsin.api.run_result import RunResult
from opsin.api.train import resolve


def twin(*words: str | Path, cwd: Path) -> str:
    """The code that is printed."""
    done = opsin(*words, "--show-code", cwd=cwd)
    assert done.returncode == 0, done.stderr
    ast.parse(done.stdout)
    return done.stdout


def run(code: str) -> Any:
    """The value of the last line, after the lines before it."""
    tree = ast.parse(code)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr)
    names: dict[str, Any] = {}
    exec(compile(tree, "twin", "exec"), names)
    return eval(compile(ast.Expression(last.value), "twin", "eval"), names)


def called(code: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the one call in the code is given, without doing it."""
    (verb,) = {
        node.func.attr
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    seen: dict[str, Any] = {"verb": verb}

    def record(*given: Any, **named: Any) -> None:
        seen.update(named, given=given)

    monkeypatch.setattr(package, verb, record, raising=False)
    run(code)
    return seen


def test_check(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = json.loads(opsin("check", digits, "--json", cwd=tmp_path).stdout)
    assert json.loads(json.dumps(run(twin("check", digits, cwd=tmp_path)).to_dict())) == shown
    followed = called(twin("check", digits, "--follow-links", cwd=tmp_path), monkeypatch)
    assert followed == {"verb": "check", "given": (str(digits),), "follow_links": True}


def test_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.yaml").write_text("patience: 3\n")
    words: list[str | Path] = [
        "train", tmp_path / "p", "--config", tmp_path / "c.yaml", "epochs=3", "--freeze",
        "--no-report", "--lr", "1e-3", "--weights-record", 'a "quoted" \\ record', "resize=crop",
    ]  # fmt: skip
    settled = json.loads(opsin(*words, "--show-settings", cwd=tmp_path).stdout)
    seen = called(twin(*words, cwd=tmp_path), monkeypatch)
    assert seen.pop("verb") == "train"
    (data,), config = seen.pop("given"), seen.pop("config")
    monkeypatch.chdir(tmp_path)
    assert resolve({"data": data} | seen, config).model_dump(mode="json") == settled


def test_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = called(twin("train", "--resume", "runs/a", cwd=tmp_path), monkeypatch)
    assert seen == {"verb": "resume", "given": ("runs/a",)}
    for extra in (["photos"], ["--config", "x.yaml"], ["--dry-run"], ["--show-settings"]):
        done = opsin("train", "--resume", "runs/a", *extra, "--show-code", cwd=tmp_path)
        assert done.returncode == 2, "the command itself refuses this"
    done = opsin("train", "photos", "--dry-run", "--show-code", cwd=tmp_path)
    assert done.returncode == 2
    assert "has no twin" in done.stderr


def test_predict(trained: RunResult, digits: Path, tmp_path: Path) -> None:
    words = ["predict", trained.path, digits / "4", "--top", "3"]
    shown = json.loads(opsin(*words, "--json", cwd=tmp_path).stdout)["predictions"]
    tops = [[(top["label"], top["probability"]) for top in row["top"]] for row in shown]
    assert run(twin(*words, cwd=tmp_path)) == tops
    plain = run(twin(*words[:3], cwd=tmp_path))
    assert [answer.label for answer in plain] == [row["label"] for row in shown]
    done = opsin("predict", trained.path, "-", "--show-code", cwd=tmp_path)
    assert done.returncode == 2
    assert "bytes on stdin have no twin" in done.stderr


def test_evaluate(trained: RunResult, digits: Path, tmp_path: Path) -> None:
    for words in (["evaluate", trained.path], ["evaluate", trained.path, digits]):
        shown = json.loads(opsin(*words, "--json", cwd=tmp_path).stdout)
        assert json.loads(json.dumps(run(twin(*words, cwd=tmp_path)).to_dict())) == shown


def test_verify(trained: RunResult, tmp_path: Path) -> None:
    shown = json.loads(opsin("verify", trained.path, "--json", cwd=tmp_path).stdout)
    assert run(twin("verify", trained.path, cwd=tmp_path)).to_dict() == shown


def test_export(trained: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = opsin("export", trained.path, "-o", tmp_path / "a", "--json", cwd=tmp_path)
    made = run(twin("export", trained.path, "-o", tmp_path / "b", cwd=tmp_path))
    assert made.path == tmp_path / "b"
    assert made.manifest.parity == json.loads(shown.stdout)["parity"]
    words = ["export", "timm:x", "-o", "b", "--weights", "w.st", "--weights-record", "w.json"]
    assert called(twin(*words, cwd=tmp_path), monkeypatch) == {
        "verb": "export", "given": ("timm:x", "b"), "weights": "w.st", "weights_record": "w.json",
    }  # fmt: skip


def test_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["serve", "runs/a", "--threads", "2", "--allow-host", "x", "--allow-host", "y"]
    assert called(twin(*words, "--port", "9000", cwd=tmp_path), monkeypatch) == {
        "verb": "serve", "given": ("runs/a",), "host": "127.0.0.1", "port": 9000, "threads": 2,
        "allow_hosts": ("x", "y"),
    }  # fmt: skip


def test_doctor(tmp_path: Path) -> None:
    assert run(twin("doctor", cwd=tmp_path))["versions"] == package.doctor()["versions"]


@pytest.mark.parametrize(
    "name", ['a\n"b', "it's", "\\n", "tab\t\u202e", "caf\udce9", "é 😀", "{x}"]
)
def test_any_name_is_a_literal(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert called(twin("check", name, cwd=tmp_path), monkeypatch)["given"] == (name,)
