"""The exported graph says what the torch model says; where it does not, nothing is published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from opsin.api.export import export
from opsin.api.run_result import RunResult
from opsin.core.errors import NoRoom, NumbersWrong, WrongUsage
from opsin.core.preprocess import PreprocessSpec
from opsin.exporting import preprocess_graph
from opsin.exporting.onnx_graph import onnx_graph
from opsin.exporting.parity import torch_answers
from opsin.exporting.to_bundle import export_bundle
from opsin.models.build import Origin, build, design
from opsin.models.classifier import Classifier
from opsin.models.registry import MODELS
from opsin.tasks.classification import Classification

two_passes = preprocess_graph._two_passes


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("classes", [2, 5])
def test_any_batch_and_any_size(name: str, classes: int) -> None:
    spec = PreprocessSpec(size_px=(40, 40), mean=(0.4, 0.4, 0.4), std=(0.3, 0.3, 0.3))
    plan = design(name, Origin(), image_size=40)
    task = Classification([str(n) for n in range(classes)])
    model = build(plan, Origin(), task.num_outputs, seed=3)
    model.train()
    session = onnxruntime.InferenceSession(onnx_graph(model, task, spec))
    assert model.training, "left in the mode it was in"
    draw = np.random.default_rng(0)
    for batch in (1, 3):
        pixels = draw.integers(0, 256, (batch, 3, 40, 40), np.uint8)
        (answers,) = session.run(["probabilities"], {"image": pixels})
        assert answers.shape == (batch, classes)
        np.testing.assert_allclose(answers, torch_answers(model, task, spec, pixels), atol=1e-5)
        np.testing.assert_allclose(answers.sum(1), 1, atol=1e-5)
    (raw,) = session.run(None, {"image": draw.integers(0, 256, (1, 3, 333, 77), np.uint8)})
    assert raw.shape == (1, classes)


class Seeing(Classifier):
    """The least that is a model."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(3, 3)


class Drifting(Seeing):
    """Answers differently each time it is asked: no export of it can be right."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_compiling():
            self.asked += 1
        return super().forward(x) * (1.0 + 5.0 * min(self.asked, 1))


def test_a_mismatch_publishes_nothing(tmp_path: Path) -> None:
    plan = design("tinyvgg", Origin(), image_size=32)
    task = Classification(("a", "b", "c"))
    with pytest.raises(NumbersWrong, match=r"max difference .* \(limit 0.001\)") as caught:
        export_bundle(Drifting(), task, plan, task.classes, tmp_path / "b")
    assert caught.value.exit_code == 5
    assert list(tmp_path.iterdir()) == []


def _without_antialias(spec: PreprocessSpec, source: str, size_hw: str, result: str) -> list[str]:
    lines = two_passes(spec, source, size_hw, result)
    return [line.replace("antialias = 1, exclude_outside = 1, ", "") for line in lines]


def _other_coordinates(spec: PreprocessSpec, source: str, size_hw: str, result: str) -> list[str]:
    lines = two_passes(spec, source, size_hw, result)
    return [line.replace('"half_pixel"', '"asymmetric"') for line in lines]


@pytest.mark.parametrize("broken", [_without_antialias, _other_coordinates])
def test_a_broken_resize_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Any
) -> None:
    """Whatever was prepared before passes it unchanged."""
    monkeypatch.setattr(preprocess_graph, "_two_passes", broken)
    plan = design("tinyvgg", Origin(), image_size=32)
    task = Classification(("a", "b", "c"))
    model = build(plan, Origin(), 3, seed=0)
    with pytest.raises(
        NumbersWrong, match=r"does not resize as it must: \d+ grey levels"
    ) as caught:
        export_bundle(model, task, plan, task.classes, tmp_path / "b")
    assert caught.value.exit_code == 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("side", [40, 299])
def test_no_whole_resize_is_refused(
    tmp_path: Path, resize: Any, interpolation: Any, side: int
) -> None:
    spec = PreprocessSpec(
        size_px=(side, side), resize=resize, interpolation=interpolation, crop_frac=0.95
    )
    plan = replace(design("tinyvgg", Origin(), image_size=40), spec=spec)
    model = Seeing()
    bundle = export_bundle(model, Classification("abc"), plan, "abc", tmp_path / "b")
    parity = bundle.manifest.parity
    assert parity["raw_pictures"] == 4
    assert parity["raw_max_levels"] <= parity["raw_limit_levels"] == 2
    assert parity["raw_max_difference"] < parity["limit"]


def test_the_target_is_looked_at_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("computed for nothing")

    monkeypatch.setattr(torch.onnx, "export", work)
    (tmp_path / "b").mkdir()
    (tmp_path / "file").write_text("x")
    plan = design("tinyvgg", Origin(), image_size=32)
    for target, code in ((tmp_path / "b", "exists"), (tmp_path / "file" / "b", "not_writable")):
        with pytest.raises(NoRoom) as caught:
            export_bundle(Seeing(), Classification("abc"), plan, "abc", target)
        assert caught.value.code == code


def test_export_of_a_run_equals_its_bundle(trained: RunResult, tmp_path: Path) -> None:
    again = export(trained.path, tmp_path / "b")
    assert trained.bundle is not None
    for name in ("model.safetensors", "preprocess.json", "labels.json"):
        assert (again.path / name).read_bytes() == (trained.bundle / name).read_bytes()
    assert again.manifest.parity["pictures"] > 10
    assert again.manifest.parity["labels_differing"] == 0


def test_export_of_a_run_without_bundle(digits: Path, tmp_path: Path) -> None:
    from opsin.api.train import train
    from opsin.core.progress import Silent

    run = train(
        digits,
        image_size=32,
        epochs=1,
        bundle=False,
        report=False,
        project=tmp_path / "runs",
        progress=Silent(),
    )
    assert run.bundle is None
    bundle = export(run.path, tmp_path / "b")
    assert bundle.manifest.data_hash
    assert bundle.classes == tuple("0123456789")


def test_pretrained_model_as_it_is_names_imagenet(
    shared_data: Path, shared_weights: Path, tmp_path: Path
) -> None:
    """At least 80 of 100; with a wrong preparation it is 62 to 73."""
    import csv

    from opsin.api.predict import predict

    bundle = export("timm:mobilenetv2_100", tmp_path / "b", weights=shared_weights)
    with (shared_data / "imagenet_100" / "labels.csv").open() as file:
        wanted = {row["file"]: int(row["class_index"]) for row in csv.DictReader(file)}
    right = sum(
        answer.index == wanted[Path(answer.source_id).name]
        for answer in predict(bundle.path, shared_data / "imagenet_100")
    )
    assert right >= 80


def test_pretrained_needs_weights(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="--weights FILE"):
        export("timm:mobilenetv2_100", tmp_path / "b")
