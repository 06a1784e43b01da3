"""Bundles: every byte checked, golden answers replayed, nothing hostile opened."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from opsin.api.run_result import RunResult
from opsin.api.verify import verify
from opsin.bundle.load import load_bundle
from opsin.bundle.pack import staged
from opsin.bundle.predict_files import Refused, predict_files
from opsin.bundle.predictor import Predictor
from opsin.bundle.verify import replay_golden
from opsin.core.errors import ModelRefused, NoRoom, NumbersWrong, WrongUsage
from opsin.core.files import sha256_file


@pytest.fixture
def bundle(trained: RunResult, tmp_path: Path) -> Path:
    assert trained.bundle is not None
    return Path(shutil.copytree(trained.bundle, tmp_path / "bundle"))


def rewrite(bundle: Path, name: str, data: bytes) -> None:
    """Change a file and let the manifest agree: what an attacker can do, a bad disk cannot."""
    (bundle / name).write_bytes(data)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name]["sha256"] = sha256_file(bundle / name)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_whole_bundle_verifies_and_may_be_moved(bundle: Path) -> None:
    result = verify(bundle)
    assert result.golden == 4
    assert result.files == 9
    assert result.max_difference < 1e-5


def test_every_flipped_bit_is_refused_and_named(bundle: Path) -> None:
    draw = random.Random(1)
    files = [p for p in sorted(bundle.rglob("*")) if p.is_file() and p.name != "manifest.json"]
    for path in files:
        whole = path.read_bytes()
        for _ in range(5):
            damaged = bytearray(whole)
            damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
            path.write_bytes(damaged)
            with pytest.raises(ModelRefused, match=r"SHA-256 is [0-9a-f]{12}…, manifest says") as e:
                load_bundle(bundle)
            assert path.name in str(e.value)
            assert e.value.exit_code == 4
        path.write_bytes(whole)
    load_bundle(bundle)


def _missing(bundle: Path) -> None:
    (bundle / "labels.json").unlink()


def _linked(bundle: Path) -> None:
    (bundle / "labels.json").rename(bundle.parent / "labels.json")
    (bundle / "labels.json").symlink_to(bundle.parent / "labels.json")


def _outside(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["../../etc/passwd"] = manifest["files"]["labels.json"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def _newer(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 99}))


def _no_json(bundle: Path) -> None:
    (bundle / "manifest.json").write_text("{")


def _pickled_graph(bundle: Path) -> None:
    rewrite(bundle, "model.onnx", pickle.dumps({"a": 1}))


def _pickled_weights(bundle: Path) -> None:
    rewrite(bundle, "model.safetensors", pickle.dumps({"a": 1}))


def _external_data(bundle: Path) -> None:
    model = onnx.load(bundle / "model.onnx")
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location="../../etc/passwd")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    rewrite(bundle, "model.onnx", model.SerializeToString())


def _nonsense_graph(bundle: Path) -> None:
    rewrite(bundle, "model.onnx", b"\x08" + b"\xff" * 200)


def _bad_spec(bundle: Path) -> None:
    rewrite(bundle, "preprocess.json", b'{"size_px": [64, 64], "shrink": 2}')


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (_missing, "missing"),
        (_linked, "a link"),
        (_outside, "leaves the bundle"),
        (_newer, "schema version 99"),
        (_no_json, "not a manifest"),
        (_pickled_graph, r"not a ONNX file \(looks like pickle\); pickle is never loaded"),
        (_pickled_weights, r"not a safetensors file \(looks like pickle\); pickle is never"),
        (_external_data, r'external data "../../etc/passwd" leaves the bundle'),
        (_nonsense_graph, "onnxruntime cannot load"),
        (_bad_spec, "shrink"),
    ],
)
def test_hostile_bundles_are_refused(
    bundle: Path, break_it: Callable[[Path], None], message: str
) -> None:
    break_it(bundle)
    with pytest.raises(ModelRefused, match=message):
        Predictor(load_bundle(bundle))


def test_other_answers_are_noticed(bundle: Path) -> None:
    """A graph that is whole but says something else: exit 5."""
    model = onnx.load(bundle / "model.onnx")
    head = next(t for t in model.graph.initializer if t.name.endswith("head.bias"))
    values = onnx.numpy_helper.to_array(head) + np.linspace(0, 3, head.dims[0], dtype=np.float32)
    head.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), head.name))
    rewrite(bundle, "model.onnx", model.SerializeToString())
    with pytest.raises(NumbersWrong, match=r"golden/000.png.*limit 0.001") as caught:
        replay_golden(Predictor(load_bundle(bundle)))
    assert caught.value.exit_code == 5


def test_no_bundle_there(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "x", "no such"), (tmp_path, "neither a run folder nor")):
        with pytest.raises(WrongUsage, match=message):
            load_bundle(path)


def test_staging_never_overwrites_and_cleans_up(tmp_path: Path) -> None:
    target = tmp_path / "b"

    def fail() -> None:
        with staged(target) as stage:
            (stage / "x").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with staged(target) as stage:
        (stage / "x").write_text("whole")
    with pytest.raises(NoRoom, match="never overwritten"), staged(target):
        pass
    assert os.listdir(tmp_path) == ["b"]  # noqa: PTH208
    assert (target / "x").read_text() == "whole"


def test_predictions_of_files_keep_their_order(bundle: Path, tmp_path: Path) -> None:
    """More than one batch, bad files between: each answer belongs to its file."""
    draw = np.random.default_rng(0)
    files = []
    for number in range(70):
        path = tmp_path / f"{number}.png"
        if number % 9 == 4:
            path.write_bytes(b"not a picture")
        else:
            Image.fromarray(draw.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
        files.append((str(number), path))
    predictor = Predictor(load_bundle(bundle))
    together = predict_files(predictor, files)
    assert [a.source_id for a in together] == [str(n) for n in range(70)]
    for (_, path), answer in zip(files, together, strict=True):
        if isinstance(answer, Refused):
            assert int(answer.source_id) % 9 == 4
            assert answer.error.code == "unsupported_format"
        else:
            alone = predictor.predict_file(path)
            np.testing.assert_allclose(alone.probabilities, answer.probabilities, atol=1e-5)
            assert sum(answer.probabilities) == pytest.approx(1, abs=1e-5)
