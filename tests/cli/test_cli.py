"""The command as a person types it: messages, exit codes, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from tests.cli.command import opsin

from opsin.api.run_result import RunResult

FAST = ["--image-size", "32", "--epochs", "1", "--no-report", "--no-bundle", "-q"]


@pytest.fixture
def photos(digits: Path, tmp_path: Path) -> Path:
    """Two classes of ten good pictures."""
    for name in ("0", "1"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for path in sorted((digits / name).glob("*.png"))[5:15]:
            shutil.copy(path, tmp_path / "photos" / name)
    return tmp_path / "photos"


def test_the_whole_way(photos: Path, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in photos.rglob("*.png")}
    assert opsin("check", photos, cwd=tmp_path).returncode == 0
    trained = opsin("train", photos, "image_size=32", "epochs=2", "--json", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    result = json.loads(trained.stdout)
    run = tmp_path / "runs" / "latest"
    names = {p.name for p in run.iterdir()}
    assert names >= {
        "config.yaml", "split.json", "manifest.csv", "env.json", "history.csv", "checkpoints",
        "predictions.csv", "metrics.json", "report.html", "bundle",
    }  # fmt: skip
    assert json.loads((run / "metrics.json").read_text()) == result["metrics"]
    evaluated = opsin("evaluate", run, "--json", cwd=tmp_path)
    values = {
        (v["split"], v["slice"], v["metric"]): v["value"] for v in result["metrics"]["values"]
    }
    for row in json.loads(evaluated.stdout)["values"]:
        key = (row["split"], row["slice"], row["metric"])
        assert row["value"] == pytest.approx(values[key], rel=1e-5)
    again = opsin("evaluate", run, photos, "--json", cwd=tmp_path)
    assert json.loads(again.stdout)["values"][0]["count"] == 20
    picture = next(iter(before))
    told = opsin("predict", run, picture, "--top", "2", cwd=tmp_path)
    assert str(picture) in told.stdout
    piped = opsin("predict", run, "-", "--json", cwd=tmp_path, stdin=picture.read_bytes())
    listed = opsin("predict", run, picture, "--json", cwd=tmp_path)
    a, b = (json.loads(x.stdout)["predictions"][0] for x in (piped, listed))
    assert a.pop("source") == "-"
    assert b.pop("source") == str(picture)
    assert a == b
    assert opsin("verify", run, cwd=tmp_path).returncode == 0
    assert opsin("export", run, "-o", tmp_path / "out", cwd=tmp_path).returncode == 0
    assert opsin("doctor", "--json", cwd=tmp_path).returncode == 0
    repeated = opsin("train", "--config", run / "config.yaml", *FAST[4:], cwd=tmp_path)
    assert repeated.returncode == 0, repeated.stderr
    other = (tmp_path / "runs" / "latest").resolve()
    assert other.name != result["run"].rsplit("/", 1)[-1]
    for name in ("split.json", "predictions.csv"):
        assert (other / name).read_bytes() == (Path(result["run"]) / name).read_bytes()
    assert {p: p.read_bytes() for p in photos.rglob("*.png")} == before


def test_predict_mixes_good_and_bad(trained: RunResult, tmp_path: Path, digits: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"")
    good = sorted((digits / "4").glob("*.png"))[0]
    done = opsin("predict", trained.path, good, tmp_path / "bad.png", cwd=tmp_path)
    assert done.returncode == 3
    assert str(good) in done.stdout
    assert "bad.png" in done.stderr
    as_json = opsin("predict", trained.path, good, tmp_path / "bad.png", "--json", cwd=tmp_path)
    rows = json.loads(as_json.stdout)["predictions"]
    assert rows[1]["error"]["code"] == "empty_file"
    assert "label" in rows[0]


def test_wrong_usage_has_near_matches(photos: Path, tmp_path: Path) -> None:
    for words, expected in (
        (["trian", "x"], 'did you mean "train"'),
        (["train", photos, "--epoch", "3"], "--epochs"),
        (["train", photos, "--model", "tinyvg"], 'did you mean "tinyvgg"'),
        (["train", photos, "--epochs", "0"], "epochs: "),
        (["train", photos, "--device", "tpu"], "Allowed: auto, cpu"),
        (["train"], "no data given"),
        (["predict", tmp_path / "nowhere", "x.jpg"], "no such run or bundle"),
        (["train", "--resume", tmp_path / "nowhere"], "no such run"),
    ):
        done = opsin(*words, cwd=tmp_path)
        assert done.returncode == 2, (words, done.stderr)
        assert expected in done.stderr, (words, done.stderr)
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def _missing(photos: Path) -> None:
    shutil.rmtree(photos)


def _empty(photos: Path) -> None:
    for folder in photos.iterdir():
        shutil.rmtree(folder)


def _one_class(photos: Path) -> None:
    shutil.rmtree(photos / "1")


def _single(photos: Path) -> None:
    for path in sorted((photos / "1").iterdir())[1:]:
        path.unlink()


def _many_bad(photos: Path) -> None:
    for path in sorted((photos / "1").iterdir())[:3]:
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "code", "message"),
    [
        (_missing, 2, "no such folder"),
        (_empty, 3, "the folder is empty"),
        (_one_class, 3, "one class"),
        (_single, 3, 'class "1" has 1'),
        (_many_bad, 3, "3 of 20 files cannot be used (3 empty_file)"),
    ],
)
def test_bad_data_is_refused_before_anything_is_written(
    photos: Path, tmp_path: Path, spoil: object, code: int, message: str
) -> None:
    spoil(photos)  # type: ignore[operator]
    done = opsin("train", photos, *FAST, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "to do:" in done.stderr
    assert not list((tmp_path / "runs").glob("*"))


def test_bad_files_are_skipped_counted_and_named(photos: Path, tmp_path: Path) -> None:
    (photos / "0" / "empty.png").write_bytes(b"")
    words = ["train", photos, "--image-size", "32", "--epochs", "1", "--no-bundle", "--no-report"]
    done = opsin(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 skipped: 1 empty_file" in done.stderr
    assert "0/empty.png" in done.stderr
    assert "empty_file" in (tmp_path / "runs" / "latest" / "manifest.csv").read_text()


def test_strict_refuses_leaks_and_without_it_they_are_told(photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "given"
    for split in ("train", "test"):
        shutil.copytree(photos, root / split)
    Image.new("L", (32, 32), 77).save(root / "test" / "0" / "only here.png")
    strict = opsin("train", root, "--strict", *FAST, cwd=tmp_path)
    assert strict.returncode == 3
    assert "leak" in strict.stderr
    done = opsin("train", root, *FAST, "--json", cwd=tmp_path)
    assert done.returncode == 0
    split = json.loads((tmp_path / "runs" / "latest" / "split.json").read_text())
    assert len(split["leaks"]) > 10
    assert any(v["slice"] == "without_leaks" for v in json.loads(done.stdout)["metrics"]["values"])


def test_a_place_that_cannot_be_written(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = opsin("train", photos, *FAST, "--project", tmp_path / "file" / "runs", cwd=tmp_path)
    assert done.returncode == 6
    assert "file" in done.stderr


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root may mount")
def test_full_disk(photos: Path, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=150k", "tmpfs", str(place)], check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let us mount a small disk")
    try:
        done = opsin("train", photos, *FAST[:4], "--project", place / "runs", cwd=tmp_path)
        assert done.returncode == 6, done.stderr
        assert "disk full" in done.stderr
        run = next((place / "runs").glob("photos*"))
        assert not list(run.rglob("*.tmp"))
        for path in run.rglob("*.json"):
            json.loads(path.read_text())
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_hostile_names_do_not_break_anything(photos: Path, tmp_path: Path) -> None:
    good = sorted((photos / "0").glob("*.png"))
    names = ["new\nline.png", "<img src=x onerror=alert(1)>.png", "😀 é.png", "a,b;\"c'.png"]
    for source, name in zip(good, names, strict=False):
        source.rename(source.with_name(name))
    raw = os.fsencode(photos / "1") + b"/bad\xff.png"
    sorted((photos / "1").glob("*.png"))[0].rename(os.fsdecode(raw))
    done = opsin("train", photos, "--image-size", "32", "--epochs", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "latest"
    assert "<img src=x" not in (run / "report.html").read_text()
    told = opsin("predict", run, photos, cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert len(told.stdout.strip().split("\n")) == 20
    assert json.loads(opsin("check", photos, "--json", cwd=tmp_path).stdout)["files"] == 20


@pytest.mark.parametrize(
    ("number", "workers"),
    [(signal.SIGINT, "0"), (signal.SIGTERM, "2"), (signal.SIGKILL, "0"), (signal.SIGKILL, "2")],
)
def test_stopped_anywhere_and_resumed(
    photos: Path, tmp_path: Path, number: signal.Signals, workers: str
) -> None:
    """Stopped in the middle of training; the end is the same to the bit."""
    words = ["train", str(photos), "--image-size", "32", "--epochs", "12", "--augment", "light",
             "--no-report", "--batch-size", "2"]  # fmt: skip
    command = [sys.executable, "-m", "opsin", *words]
    whole = subprocess.run([*command, "--name", "whole", "-q"], cwd=tmp_path, check=False)
    assert whole.returncode == 0
    process = subprocess.Popen(
        [*command, "--name", "cut", "--workers", workers],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 3/"):
            break
    time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    wanted = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    assert process.returncode == wanted, errors
    if number != signal.SIGKILL:
        assert "to do: opsin train --resume" in errors
        assert "Traceback" not in errors
    resumed = opsin("train", "--resume", "runs/cut", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    for name in ("predictions.csv", "bundle/model.safetensors"):
        a, b = (tmp_path / "runs" / run / name for run in ("whole", "cut"))
        assert a.read_bytes() == b.read_bytes(), name


@pytest.mark.parametrize("delay_s", [0.3, 1.0, 2.0, 3.5, 5.0])
def test_ctrl_c_at_any_moment(photos: Path, tmp_path: Path, delay_s: float) -> None:
    """Whatever it was doing: exit 130, no traceback, nothing half-written, and it can go on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "opsin", "train", str(photos), "--image-size", "32", "--epochs",
         "3000"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(delay_s)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT), errors
    if process.returncode == 130:
        assert "Traceback" not in errors
    assert not list(tmp_path.rglob("*.tmp"))
    for path in tmp_path.rglob("*.json"):
        json.loads(path.read_text())


def test_resume_refuses_changed_data(photos: Path, tmp_path: Path) -> None:
    assert opsin("train", photos, *FAST, cwd=tmp_path).returncode == 0
    pictures = sorted((photos / "0").iterdir())
    Image.new("RGB", (32, 32), "red").save(pictures[0])
    pictures[1].unlink()
    shutil.copy(pictures[2], photos / "1" / "new.png")
    done = opsin("train", "--resume", "runs/latest", cwd=tmp_path)
    assert done.returncode == 2
    for expected in ("has another content", "is gone", "1/new.png is new"):
        assert expected in done.stderr


def test_resume_of_a_finished_run_adds_what_is_missing(photos: Path, tmp_path: Path) -> None:
    words = ["train", photos, "--image-size", "32", "--epochs", "1", "-q"]
    assert opsin(*words, cwd=tmp_path).returncode == 0
    run = tmp_path / "runs" / "latest"
    before = (run / "predictions.csv").read_bytes()
    shutil.rmtree(run / "bundle")
    (run / "report.html").unlink()
    done = opsin("train", "--resume", run, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (run / "report.html").exists()
    assert (run / "bundle" / "manifest.json").exists()
    assert (run / "predictions.csv").read_bytes() == before


@pytest.mark.parametrize("lost", [["split.json"], ["split.json", "manifest.csv"], ["env.json"]])
def test_killed_between_the_first_records(photos: Path, tmp_path: Path, lost: list[str]) -> None:
    """The records of the data are written one after the other; a kill may fall between."""
    assert opsin("train", photos, *FAST, "--name", "whole", cwd=tmp_path).returncode == 0
    whole, cut = tmp_path / "runs" / "whole", tmp_path / "runs" / "cut"
    shutil.copytree(whole, cut)
    for name in [*lost, "history.csv", "predictions.csv", "metrics.json"]:
        (cut / name).unlink()
    shutil.rmtree(cut / "checkpoints")
    done = opsin("train", "--resume", cut, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("split.json", "manifest.csv", "predictions.csv"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()


def test_settings_are_recorded_as_they_were_used(photos: Path, tmp_path: Path) -> None:
    done = opsin("train", photos, *FAST, "--threads", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "latest"
    environment = json.loads((run / "env.json").read_text())
    assert environment["cpu"]["threads"] == 1
    assert len(environment["code_sha256"]) == 64
    settled = opsin("train", "--config", run / "config.yaml", "--show-settings", cwd=tmp_path)
    assert settled.returncode == 0, settled.stderr
    assert json.loads(settled.stdout)["threads"] == 1
    assert json.loads(settled.stdout)["data"] == str(photos)


def test_show_code_is_the_python_twin(tmp_path: Path) -> None:
    done = opsin("train", "pics", "epochs=3", "--freeze", "--show-code", cwd=tmp_path)
    assert done.stdout.strip().endswith('opsin.train("pics", freeze=True, epochs=3)')
    assert done.returncode == 0


def test_predict_loads_no_torch(trained: RunResult, digits: Path, tmp_path: Path) -> None:
    picture = sorted((digits / "4").glob("*.png"))[0]
    code = (
        "import sys; from opsin.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "heavy = {'torch', 'torchvision', 'matplotlib', 'onnx', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", str(trained.path), str(picture)],
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0
