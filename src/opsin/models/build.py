"""From a model's name to a module and the preparation that its pictures need."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from opsin.core.errors import ModelRefused, WrongUsage
from opsin.core.preprocess import PreprocessSpec, Resize
from opsin.core.registry import unknown
from opsin.core.seeding import torch_seed
from opsin.models.classifier import Classifier, DropoutLinear
from opsin.models.hub import download_weights
from opsin.models.own import OWN, own_preparation
from opsin.models.record import WeightsRecord, read_record, safe_options
from opsin.models.registry import MODELS
from opsin.models.timm_adapter import PREFIX, TimmClassifier, timm_preparation
from opsin.models.weights import load_weights


@dataclass(frozen=True)
class Origin:
    """Where weights come from: nowhere (from scratch), or a file. Its record says how pictures are
    prepared; a file from timm's hub has none, because timm itself knows.
    """

    weights: Path | None = None
    record: WeightsRecord | None = None


@dataclass(frozen=True)
class Design:
    """Everything needed to build the module again: goes into the bundle's manifest."""

    name: str
    spec: PreprocessSpec
    options: dict[str, Any] = field(default_factory=dict)


def find_origin(
    model: str, *, pretrained: bool = False, weights: Path | None = None, record: Path | None = None
) -> Origin:
    """Find the weights and check their record; `pretrained` downloads them unless they are cached.

    Raises `WrongUsage`, `ModelRefused`.
    """
    if weights is not None:
        if pretrained:
            raise WrongUsage("give --pretrained or --weights FILE, not both", where="pretrained")
        return Origin(weights=weights, record=read_record(weights, record))
    if not pretrained:
        return Origin()
    if not model.startswith(PREFIX):
        raise WrongUsage(
            f"{model} has no pretrained weights",
            where="pretrained",
            fix=f"choose a {PREFIX}NAME model, for example {PREFIX}mobilenetv2_100",
        )
    return Origin(weights=download_weights(model.removeprefix(PREFIX)))


def design(
    name: str,
    origin: Origin,
    *,
    image_size: int | None = None,
    resize: Resize | None = None,
    jpeg_gap: float | None = None,
) -> Design:
    """Settle the model's options and its preparation, before anything is built.

    Raises `WrongUsage` for an unknown name, a size out of range, or weights of another model.
    """
    spec = _preparation(name, origin, image_size, resize)
    options = dict(origin.record.create_kwargs) if origin.record is not None else {}
    return Design(name, spec.model_copy(update={"jpeg_gap": jpeg_gap}), options)


def _preparation(
    name: str, origin: Origin, image_size: int | None, resize: Resize | None
) -> PreprocessSpec:
    if origin.record is not None:
        if origin.record.architecture != name:
            raise WrongUsage(
                f"the weights are of {origin.record.architecture}, the model is {name}",
                code="other_architecture",
                where=str(origin.weights),
                fix=f"--model {origin.record.architecture}",
            )
        return origin.record.preparation(image_size, resize)
    if name.startswith(PREFIX):
        spec = timm_preparation(name.removeprefix(PREFIX), image_size)
        return spec.model_copy(update={"resize": resize or spec.resize})
    if name.startswith(OWN):
        return own_preparation(image_size, resize)
    if name not in MODELS:
        raise unknown("model", name, [*MODELS, f"{PREFIX}NAME"])
    size = image_size or MODELS.load(name).image_size_px
    return PreprocessSpec(size_px=(size, size), resize=resize or "stretch")


def construct(plan: Design, num_outputs: int) -> Classifier:
    """The module itself, with whatever weights its constructor draws."""
    try:
        safe_options(plan.options)
    except ValueError as error:
        raise ModelRefused(str(error), code="options_refused", where=plan.name) from error
    if plan.name.startswith(OWN):
        raise WrongUsage(
            f"{plan.name.removeprefix(OWN)} is a module of somebody's own, which stands in no file",
            code="own_part_missing",
            where="model",
            fix="use the bundle that its run has written",
        )
    if plan.name.startswith(PREFIX):
        make: Any = partial(TimmClassifier, plan.name.removeprefix(PREFIX))
    else:
        make = MODELS.load(plan.name)
    try:
        model = make(num_outputs, image_size=plan.spec.size_px[0], **plan.options)
    except TypeError as error:
        raise WrongUsage(f"{plan.name} does not take these options: {error}") from error
    return cast(Classifier, model)


def build(
    plan: Design,
    origin: Origin,
    num_outputs: int,
    *,
    seed: int,
    keep_head: bool = False,
    dropout: float = 0.0,
) -> Classifier:
    """The module with its first weights: drawn from `seed`, then those of `origin` put in.

    `keep_head`: the origin's own head stays (a pretrained model used as it is). `dropout`: share of
    the head's inputs that is dropped in training mode. torch's global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "weights"))
        model = construct(plan, num_outputs)
    if dropout:
        model.head = DropoutLinear(model.head, dropout)
    if origin.weights is not None:
        load_weights(model, origin.weights, keep_head=keep_head)
    return model
