"""README's commands are typed and its Python is run, from top to bottom, on a small folder."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
README = (REPO / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN_IN = {"console", "bash", "python"}


def blocks() -> list[tuple[str, str]]:
    """Language and text of each block, in order."""
    return [(match[1], match[2]) for match in BLOCK.finditer(README)]


def commands(text: str) -> list[str]:
    """The lines that a person types, without the `$`."""
    return [line.removeprefix("$ ") for line in text.splitlines() if line.strip()]


def run(command: list[str], cwd: Path) -> str:
    """Run and return stdout; fail with all that was said."""
    result = subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{shlex.join(command)}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def environment() -> dict[str, str]:
    """Ours, with the commands of this environment first."""
    here = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def service(arguments: list[str], cwd: Path, port: int) -> Iterator[None]:
    """`opsin serve` until the block ends; then SIGTERM, which it must answer in time."""
    with (cwd / "serve.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [*arguments, "--port", str(port)], cwd=cwd, env=environment(), stdout=log, stderr=log
        )
        try:
            deadline = time.monotonic() + 60
            while not ready(port):
                said = (cwd / "serve.log").read_text(encoding="utf-8")
                assert process.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.1)
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) in (0, 143)
        finally:
            process.kill()
            process.wait()


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def small_folder(root: Path) -> None:
    """`photos` and `cat.jpg`, as README's reader has them, out of a few digits."""
    pytest.importorskip("torch", reason="training needs opsin[train]")
    from PIL import Image

    from opsin.testing.digits import digit_files

    for name, data in digit_files(per_class=12, planted_faults=False).items():
        if name[0] in "017":
            path = root / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    with Image.open(next((root / "photos" / "7").iterdir())) as image:
        image.convert("RGB").save(root / "cat.jpg")


def test_everything_is_typed_in_order(tmp_path: Path) -> None:
    small_folder(tmp_path)
    verbs: set[str] = set()
    serving: list[str] = []
    for language, text in blocks():
        if language == "python":
            (tmp_path / "block.py").write_text(text, encoding="utf-8")
            run([sys.executable, "block.py"], tmp_path)
        elif language in RUN_IN:
            for command in commands(text):
                words = shlex.split(command)
                if words[0] == "make":
                    run([*words, "--dry-run"], REPO)
                elif words[:2] == ["opsin", "serve"]:
                    serving = words  # starts with the next request to it
                elif words[0] == "curl":
                    ask_service(serving, words, tmp_path)
                else:
                    assert words[0] == "opsin", f"README types {command}; teach this test"
                    run(words, tmp_path)
                verbs |= {words[1]} if words[0] == "opsin" else {words[0]}
    assert verbs >= {"check", "train", "predict", "serve", "evaluate", "make", "curl"}


def ask_service(serving: list[str], curl: list[str], cwd: Path) -> None:
    assert serving, "README asks a service that it never started"
    port = free_port()
    with service(serving, cwd, port):
        if shutil.which("curl") is None:
            return
        answer = run([*[word.replace(":8000", f":{port}") for word in curl], "-sS"], cwd)
        assert '"label"' in answer


def test_each_block_is_of_a_kind_that_is_run_or_is_plain_text() -> None:
    assert {language for language, _ in blocks()} <= RUN_IN | {"text"}
    assert README.count("```") == 2 * len(blocks())


def test_links_lead_to_files() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    for link in links:
        assert (REPO / link).is_file(), link


def test_the_run_folder_is_as_described(tmp_path: Path) -> None:
    small_folder(tmp_path)
    opsin = Path(sys.executable).with_name("opsin")
    run([str(opsin), "train", "photos", "--epochs", "1"], tmp_path)
    (tree,) = [text for language, text in blocks() if language == "text"]
    described = [name.rstrip("/") for name in re.findall(r"^ {2}(\S+)", tree, re.MULTILINE)]
    assert "report.html" in described
    there = {path.name for path in (tmp_path / "runs" / "photos-tinyvgg").iterdir()}
    assert set(described) <= there
    assert (tmp_path / "runs" / "latest").resolve() == tmp_path / "runs" / "photos-tinyvgg"
