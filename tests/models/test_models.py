"""Architectures against the sources' parameter counts, and weights from files."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from opsin.core.errors import ModelRefused, WrongUsage
from opsin.models.build import Origin, build, construct, design, find_origin
from opsin.models.classifier import Classifier, DropoutLinear, count_parameters
from opsin.models.registry import MODELS
from opsin.models.weights import load_weights


def make(name: str, outputs: int, size: int | None = None) -> Classifier:
    return build(design(name, Origin(), image_size=size), Origin(), outputs, seed=0)


@pytest.mark.parametrize(
    ("name", "outputs", "parameters"),
    [("cnn3", 1, 3_696_625), ("lenet", 1, 4_668_297), ("tinyvgg", 3, 8_083)],
)
def test_parameters_of_the_source(name: str, outputs: int, parameters: int) -> None:
    assert count_parameters(make(name, outputs)) == parameters


def test_trainable_parameters_of_lenet() -> None:
    assert sum(p.numel() for p in make("lenet", 1).parameters()) == 4_668_033


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("size", [32, 65])
def test_contract(name: str, size: int) -> None:
    """Every model: head(backbone(x)), any batch, the seed decides, the global generator stays."""
    state = torch.get_rng_state()
    model = make(name, 5, size).eval()
    assert torch.equal(state, torch.get_rng_state())
    x = torch.rand(3, 3, size, size)
    with torch.no_grad():
        out = model(x)
        assert out.shape == (3, 5)
        torch.testing.assert_close(out, model.head(model.backbone(x)))
        torch.testing.assert_close(out[:1], model(x[:1]), rtol=1e-4, atol=1e-5)
    again = make(name, 5, size)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )


@pytest.mark.parametrize("name", [*MODELS, "timm:test_resnet", "timm:test_vit"])
def test_dropout_changes_training_and_nothing_else(name: str) -> None:
    """Names, counts, first weights and answers are those of the model without; what is dropped is
    what torch's own layer in front of the head would drop.
    """
    plan = design(name, Origin(), image_size=None if "vit" in name else 64)
    plain, dropping = (build(plan, Origin(), 5, seed=0, dropout=share) for share in (0.0, 0.4))
    assert count_parameters(plain) == count_parameters(dropping)
    theirs, ours = plain.state_dict(), dropping.state_dict()
    assert list(theirs) == list(ours)
    assert all(torch.equal(theirs[key], ours[key]) for key in theirs)
    x = torch.rand(2, 3, *plan.spec.size_px)
    assert torch.equal(plain.eval()(x), dropping.eval()(x))

    features = torch.rand(4, dropping.head.in_features)
    torch.manual_seed(1)
    dropped = dropping.head.train()(features)
    torch.manual_seed(1)
    assert torch.equal(dropped, nn.Sequential(nn.Dropout(0.4), plain.head)(features))
    assert not torch.equal(dropped, plain.head(features))


def test_dropout_is_checked_and_shown() -> None:
    head = nn.Linear(4, 2)
    assert "dropout=0.25" in repr(DropoutLinear(head, 0.25))
    for share in (-0.1, 1.0):
        with pytest.raises(WrongUsage, match=r"at least 0 and less than 1, came"):
            DropoutLinear(head, share)


def test_pretrained_weights_fit_a_head_with_dropout(tmp_path: Path) -> None:
    source = make("tinyvgg", 3)
    file = tmp_path / "w.safetensors"
    save_file(source.state_dict(), file)
    record(file)
    origin = find_origin("tinyvgg", weights=file)
    model = build(design("tinyvgg", origin), origin, 3, seed=0, keep_head=True, dropout=0.5)
    assert torch.equal(model.head.weight, source.head.weight)


@pytest.mark.parametrize("name", list(MODELS))
def test_too_small_a_picture_is_explained(name: str) -> None:
    with pytest.raises(WrongUsage, match="too small"):
        make(name, 2, 8)


def test_unknown_names_have_near_matches() -> None:
    with pytest.raises(WrongUsage, match='did you mean "tinyvgg"'):
        design("tinyvg", Origin())
    with pytest.raises(WrongUsage, match="mobilenetv2_100"):
        design("timm:mobilenetv2_10", Origin())
    with pytest.raises(WrongUsage, match="no pretrained weights"):
        find_origin("lenet", pretrained=True)


def record(path: Path, **changes: object) -> None:
    fields = {
        "architecture": "tinyvgg",
        "input_size": [3, 64, 64],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "crop_frac": 0.875,
    }
    path.with_suffix(".json").write_text(json.dumps(fields | changes))


def test_weights_round_trip_with_another_head(tmp_path: Path) -> None:
    source = make("tinyvgg", 3)
    file = tmp_path / "w.safetensors"
    save_file(source.state_dict(), file)
    record(file)
    origin = find_origin("tinyvgg", weights=file)
    plan = design("tinyvgg", origin)
    assert plan.spec.mean == (0.5, 0.5, 0.5)
    assert plan.spec.prepared_px == (73, 73)
    model = build(plan, origin, 7, seed=0)
    assert model.head.out_features == 7
    for a, b in zip(source.backbone.parameters(), model.backbone.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(WrongUsage, match="the weights are of tinyvgg"):
        design("lenet", origin)


def test_weights_without_a_record_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file(make("tinyvgg", 3).state_dict(), file)
    with pytest.raises(ModelRefused, match=r"w\.json is missing"):
        find_origin("tinyvgg", weights=file)
    record(tmp_path / "elsewhere.safetensors")
    assert (
        find_origin("tinyvgg", weights=file, record=tmp_path / "elsewhere.json").record is not None
    )
    (tmp_path / "w.json").write_text('{"architecture": "tinyvgg"}')
    with pytest.raises(ModelRefused, match=r"input_size.*mean.*std"):
        find_origin("tinyvgg", weights=file)
    (tmp_path / "w.json").write_text("{")
    with pytest.raises(ModelRefused, match="cannot be read as JSON"):
        find_origin("tinyvgg", weights=file)


@pytest.mark.parametrize(
    "changes",
    [
        {"crop_frac": 1.5},
        {"std": [0, 0, 0]},
        {"input_size": [3, 0, 0]},
        {"interpolation": "nearest"},
        {"create_kwargs": {"checkpoint_path": "evil.pth"}},
        {"create_kwargs": {"pretrained": True}},
        {"create_kwargs": {"pretrained_cfg": {"url": "x"}}},
        {"create_kwargs": {"num_classes": 3}},
        {"create_kwargs": {"act_layer": {"a": 1}}},
    ],
)
def test_records_with_impossible_values_are_refused(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    file = tmp_path / "w.safetensors"
    save_file(make("tinyvgg", 3).state_dict(), file)
    record(file, **changes)
    with pytest.raises(ModelRefused) as caught:
        find_origin("tinyvgg", weights=file)
    assert caught.value.code == "bad_record"


def test_options_in_a_manifest_are_looked_at_too() -> None:
    plan = design("timm:test_resnet", Origin())
    hostile = replace(plan, options={"checkpoint_path": "evil.pth"})
    with pytest.raises(ModelRefused, match="checkpoint_path"):
        construct(hostile, 3)


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_resnet"])
def test_timm_models_at_another_size(name: str) -> None:
    for size in (64, None):
        plan = design(name, Origin(), image_size=size)
        model = construct(plan, 3).eval()
        with torch.no_grad():
            assert model(torch.rand(1, 3, *plan.spec.size_px)).shape == (1, 3)
    with pytest.raises(WrongUsage, match="cannot be built for pictures of 9 px"):
        construct(design("timm:test_vit", Origin(), image_size=9), 3)


class Bomb:
    """Would leave a file behind if it were ever unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, (f"open({str(self.mark)!r}, 'w').close()",))


@pytest.mark.parametrize("how", ["pickle", "torch.save"])
def test_a_pickle_renamed_is_never_executed(tmp_path: Path, how: str) -> None:
    mark, file = tmp_path / "executed", tmp_path / "w.safetensors"
    if how == "pickle":
        file.write_bytes(pickle.dumps(Bomb(mark)))
    else:
        torch.save(Bomb(mark), file)
    record(file)
    with pytest.raises(ModelRefused, match=r"looks like .*pickle.*never loaded") as caught:
        find_origin("tinyvgg", weights=file)
    assert caught.value.exit_code == 4
    assert not mark.exists()


def test_damaged_safetensors(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file(make("tinyvgg", 3).state_dict(), file)
    record(file)
    whole = file.read_bytes()
    for damaged in (whole[:100], whole[:4], b"", whole[:8] + b"{" + b"x" * 500):
        file.write_bytes(damaged)
        with pytest.raises(ModelRefused):
            find_origin("tinyvgg", weights=file)
    file.write_bytes(whole[:-10])
    with pytest.raises(ModelRefused, match="damaged"):
        load_weights(make("tinyvgg", 3), file, keep_head=True)


def test_weights_of_another_architecture_say_what_fits(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file(make("tinyvgg", 3, 64).state_dict(), file)
    with pytest.raises(ModelRefused) as caught:
        load_weights(make("lenet", 3, 64), file, keep_head=True)
    text = str(caught.value)
    assert "tensors fit" in text
    assert "missing in the file: backbone." in text
    with pytest.raises(ModelRefused, match=r"9 of 10 tensors fit.*head.weight is \[3, 1690\]"):
        load_weights(make("tinyvgg", 3, 96), file, keep_head=True)


def test_shared_imagenet_weights_fit_with_their_own_head(shared_weights: Path) -> None:
    origin = find_origin("timm:mobilenetv2_100", weights=shared_weights)
    plan = design("timm:mobilenetv2_100", origin)
    model = build(plan, origin, 1000, seed=0, keep_head=True).eval()
    import timm
    from safetensors.torch import load_file

    theirs = timm.create_model("mobilenetv2_100", pad_type="same").eval()
    theirs.load_state_dict(load_file(shared_weights), strict=False)
    x = torch.rand(2, 3, 224, 224, generator=torch.manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(x), theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "size"), [("cnn3", 64), ("tinyvgg", 64)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_relu_behind_the_pool_is_the_network_of_the_source(
    name: str, size: int, layout: torch.memory_format
) -> None:
    """Bit for bit, outputs and gradients, also where whole windows are equal or below zero."""
    ours = make(name, 3, size)
    parts = list(ours.backbone)
    pools = [at for at, part in enumerate(parts) if isinstance(part, nn.MaxPool2d)]
    for at in pools:
        parts[at], parts[at + 1] = parts[at + 1], parts[at]
    theirs = nn.Sequential(*copy.deepcopy(parts), copy.deepcopy(ours.head))
    images = torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    images[1, :, : size // 2], images[2] = 0.0, -1.0
    found = []
    for network in (ours, theirs):
        network.to(memory_format=layout)
        outputs = network(images.contiguous(memory_format=layout))
        outputs.square().sum().backward()
        found.append([outputs, *(each.grad for each in network.parameters())])
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)
