"""Any backbone of timm as `backbone` + `head`; timm is imported only here."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from opsin.core.errors import WrongUsage
from opsin.core.extras import require
from opsin.core.preprocess import PreprocessSpec
from opsin.core.registry import unknown
from opsin.models.classifier import Classifier

PREFIX = "timm:"


class TimmClassifier(Classifier):
    """timm's model without its classifier, and a linear head of `num_outputs`.

    Input: float32 B 3 H W; output: B `num_outputs` logits.
    """

    def __init__(
        self, name: str, num_outputs: int, image_size: int | None = None, **options: Any
    ) -> None:
        super().__init__()
        timm = _timm(name)
        config = timm_config(name)
        size = image_size or int(config.get("input_size", (3, 224, 224))[-1])
        # A transformer is built for one size; a network of convolutions takes any.
        sized = {} if config.get("fixed_input_size") is not True else {"img_size": size}
        try:
            self.backbone = timm.create_model(name, num_classes=0, **sized, **options)
            features = self._probe(size)
        except (AssertionError, RuntimeError, ValueError) as error:
            raise WrongUsage(
                f"{PREFIX}{name} cannot be built for pictures of {size} px: {error}",
                code="image_size",
                where="image_size",
                fix=f"leave --image-size out; its own is {config.get('input_size', '?')}",
            ) from error
        if features.ndim != 2:
            raise WrongUsage(
                f"{PREFIX}{name} does not end in one row of features a picture", code="no_head"
            )
        self.image_size_px = size
        self.classifier_key = str(config.get("classifier") or "classifier")
        self.head = nn.Linear(features.shape[1], num_outputs)

    def _probe(self, size: int) -> torch.Tensor:
        """What the backbone makes of one picture, which no table tells for every family."""
        self.backbone.eval()
        with torch.no_grad():
            features: torch.Tensor = self.backbone(torch.zeros(1, 3, size, size))
        self.backbone.train()
        return features

    def own_key(self, key: str) -> str:
        """Timm's name of a weight as the name it has here."""
        inside = f"{self.classifier_key}."
        return f"head.{key[len(inside) :]}" if key.startswith(inside) else f"backbone.{key}"


def timm_preparation(name: str, image_size: int | None) -> PreprocessSpec:
    """How timm says that pictures for the pretrained weights of `name` are prepared."""
    config = timm_config(name)
    if "input_size" not in config:
        raise WrongUsage(f"timm has no record of how pictures for {PREFIX}{name} are prepared")
    size = image_size or int(config["input_size"][-1])
    interpolation = config.get("interpolation", "bicubic")
    return PreprocessSpec(
        size_px=(size, size),
        resize="crop",
        interpolation=interpolation if interpolation in ("bilinear", "bicubic") else "bicubic",
        crop_frac=config.get("crop_pct") or 0.875,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def timm_config(name: str) -> dict[str, Any]:
    """What timm records of the pretrained weights of `name`. Raises `WrongUsage`."""
    config = _timm(name).get_pretrained_cfg(name)
    return dict(config.to_dict()) if config is not None else {}


def _timm(name: str) -> Any:
    timm = require("timm", purpose=f"the model {PREFIX}{name}")
    if not timm.is_model(name):
        raise unknown("timm model", name, timm.list_models())
    return timm
