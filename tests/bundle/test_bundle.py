"""Bundles: every byte checked, golden answers replayed, nothing hostile opened."""

from __future__ import annotations

import errno
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from opsin.api.run_result import RunResult
from opsin.api.verify import verify
from opsin.bundle.held_folder import HeldFolder
from opsin.bundle.load import load_bundle
from opsin.bundle.manifest import Manifest
from opsin.bundle.pack import staged
from opsin.bundle.predict_files import Refused, predict_files
from opsin.bundle.predictor import Predictor, as_chw
from opsin.bundle.verify import replay_golden
from opsin.core.errors import ModelRefused, NoRoom, NumbersWrong, WrongUsage
from opsin.core.files import sha256_file
from opsin.core.magic import require_kind


@pytest.fixture
def bundle(trained: RunResult, tmp_path: Path) -> Path:
    assert trained.bundle is not None
    return Path(shutil.copytree(trained.bundle, tmp_path / "bundle"))


def reseal(bundle: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest whose checksum agrees."""
    whole = Manifest.model_validate(manifest).sealed()
    (bundle / "manifest.json").write_text(json.dumps(whole.model_dump()))


def rewrite(bundle: Path, name: str, data: bytes) -> None:
    """Change a file and let the manifest agree: what an attacker can do, a bad disk cannot."""
    (bundle / name).write_bytes(data)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name]["sha256"] = sha256_file(bundle / name)
    reseal(bundle, manifest)


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
    reseal(bundle, manifest)


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


def _evasive(location: bytes) -> Callable[[Path], None]:
    """External data whose key is written with longer varints than needed."""

    def break_it(bundle: Path) -> None:
        def field(number: int, value: bytes) -> bytes:
            head = bytes([number << 3 | 2])
            return head + len(value).to_bytes(1, "little") + value

        target = b"../../etc/passwd"
        # TensorProto: dims, data_type, name, external_data, data_location
        tensor = b"\x08\x01\x10\x01" + field(8, b"evil") + b"\x70\x01"
        tensor += field(13, location + field(2, target))
        hidden = onnx.ModelProto.FromString(field(7, field(5, tensor)))
        (entry,) = hidden.graph.initializer[0].external_data
        assert (entry.key, entry.value) == ("location", target.decode()), "protobuf reads it so"
        data = (bundle / "model.onnx").read_bytes() + field(7, field(5, tensor))
        rewrite(bundle, "model.onnx", data)

    return break_it


def _no_golden(bundle: Path) -> None:
    rewrite(bundle, "golden/golden.json", b"[]")


def _fewer_classes(bundle: Path) -> None:
    rewrite(bundle, "labels.json", b'{"classes": ["a", "b"]}')


def _linked_folder(bundle: Path) -> None:
    (bundle / "golden").rename(bundle.parent / "golden")
    (bundle / "golden").symlink_to(bundle.parent / "golden")


def _link_in_a_circle(bundle: Path) -> None:
    shutil.rmtree(bundle / "golden")
    (bundle / "golden").symlink_to("golden")


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
        (_evasive(b"\x8a\x00\x08location"), r'external data "../../etc/passwd" leaves'),
        (_evasive(b"\x0a\x88\x80\x80\x00location"), r'external data "../../etc/passwd" leaves'),
        (_evasive(b"\x8a\x80\x80\x80\x00\x88\x00location"), "external data"),
        (_no_golden, "no golden samples"),
        (_fewer_classes, "10 probabilities for golden/000.png, 2 classes"),
        (_linked_folder, "golden: a link"),
        (_link_in_a_circle, "golden: a link"),
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


def test_a_graph_that_resizes_otherwise_is_noticed(bundle: Path) -> None:
    """Prepared pictures pass its resize unchanged, so only the raw route can tell."""
    model = onnx.load(bundle / "model.onnx")
    for node in model.graph.node:
        for attribute in node.attribute if node.op_type == "Resize" else ():
            if attribute.name in ("antialias", "exclude_outside"):
                attribute.i = 0
    rewrite(bundle, "model.onnx", model.SerializeToString())
    with pytest.raises(NumbersWrong, match=r"raw, through its own resize.*limit 0.002") as caught:
        verify(bundle)
    assert caught.value.exit_code == 5


def _graph(input_: str, output: str, body: str) -> bytes:
    text = f'<ir_version: 9, opset_import: ["": 18]> g ({input_}) => ({output}) {{ {body} }}'
    graph: bytes = onnx.parser.parse_model(text).SerializeToString()
    return graph


_MEAN = """levels = Cast <to = 1> (image) axes = Constant <value = int64[2] {2, 3}> ()
    mean = ReduceMean <keepdims = 0> (levels, axes)"""
_MEAN_ANSWER = _MEAN.replace("mean =", "probabilities =")
_IDENTITY = "probabilities = Identity (x)"
_TEN = """levels = Cast <to = 1> (image) shape = Constant <value = int64[2] {1, 10}> ()
    flat = Flatten (levels) start = Constant <value = int64[1] {0}> ()
    end = Constant <value = int64[1] {10}> () axis = Constant <value = int64[1] {1}> ()
    ten = Slice (flat, start, end, axis) probabilities = Reshape (ten, shape)"""


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (
            _graph("float[B, 3, H, W] x", "float[B, 3, H, W] probabilities", _IDENTITY),
            r"its input must be tensor\(uint8\) .* x: tensor\(float\)",
        ),
        (
            _graph("uint8[N] x", "uint8[N] probabilities", _IDENTITY),
            r"its input must be .* x: tensor\(uint8\) \['N'\]",
        ),
        (
            _graph("uint8[B, 3, H, W] image", "float[B, 3] mean", _MEAN),
            r"must have an output probabilities: tensor\(float\) \[B, 10\], and has mean",
        ),
        (
            _graph("uint8[B, 3, H, W] image", "float[B, 3] probabilities", _MEAN_ANSWER),
            r"\[B, 10\], and has probabilities: tensor\(float\) \['B', 3\]",
        ),
        (
            _graph("uint8[1, 4, 8, 8] image", "float[1, 10] probabilities", _TEN),
            r"the graph does not run",
        ),
    ],
)
def test_foreign_graphs_are_refused(bundle: Path, graph: bytes, message: str) -> None:
    rewrite(bundle, "model.onnx", graph)
    with pytest.raises(ModelRefused, match=message) as caught:
        verify(bundle)
    assert caught.value.exit_code == 4


def test_onnxruntime_by_itself_opens_no_file_outside(bundle: Path) -> None:
    """Our own look at the bytes is not the only wall."""
    _external_data(bundle)
    data = (bundle / "model.onnx").read_bytes()
    with pytest.raises(Exception, match=r"(?i)external"):
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    "name",
    ["manifest.json", "model.onnx", "model.safetensors", "labels.json", "golden/golden.json"],
)
def test_what_cannot_be_read_is_named(
    bundle: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path == bundle / name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ModelRefused, match=f"{name}: cannot be read: Permission denied") as caught:
        load_bundle(bundle)
    assert caught.value.code == "unreadable"
    if name.startswith("model"):
        with pytest.raises(ModelRefused, match="Permission denied"):
            require_kind(bundle / name, "ONNX")


def test_a_folder_that_cannot_be_entered(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(ModelRefused, match="Permission denied") as caught:
        load_bundle(bundle)
    assert caught.value.code == "unreadable"


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


def test_two_exports_do_not_disturb_each_other(tmp_path: Path) -> None:
    """The first to end has the name; the other one is told so."""
    target = tmp_path / "b"

    def export_both() -> None:
        with staged(target) as first:
            (first / "x").write_text("first")
            with staged(target) as second:
                (second / "x").write_text("second")
            assert (first / "x").read_text() == "first"

    with pytest.raises(NoRoom, match="never overwritten"):
        export_both()
    assert (target / "x").read_text() == "second"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_export_left_goes_with_the_next(tmp_path: Path) -> None:
    target = tmp_path / "b"
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom opsin.bundle.pack import staged\n"
        "with staged(Path(sys.argv[1])) as stage:\n"
        "    (stage / 'x').write_text('half')\n    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(target)], timeout=60, check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".b.")
    with staged(target):
        assert left.exists(), "too young to be sure"
        in_use = next(folder for folder in tmp_path.iterdir() if folder != left)
        for folder in tmp_path.iterdir():
            os.utime(folder, (0, 0))
        with staged(tmp_path / "other"):
            assert left.exists(), "another target's"
        held = HeldFolder(tmp_path, prefix=".b.", suffix=".unfinished")
        assert not left.exists()
        assert in_use.exists()
        held.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "other"]


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
            prepared = predictor.bundle.spec.prepare(np.asarray(Image.open(path)))
            (alone,) = predictor.probabilities(as_chw([prepared]))
            np.testing.assert_allclose(alone, answer.probabilities, atol=1e-5)
            assert sum(answer.probabilities) == pytest.approx(1, abs=1e-5)


def test_every_flipped_bit_of_the_manifest_is_refused(bundle: Path) -> None:
    path = bundle / "manifest.json"
    whole = path.read_bytes()
    draw = random.Random(2)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(ModelRefused):
            load_bundle(bundle)
    path.write_bytes(b"[" * 200_000)
    with pytest.raises(ModelRefused, match="not a manifest"):
        load_bundle(bundle)
