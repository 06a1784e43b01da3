"""The model families by name. timm's own are reached by `timm:NAME`."""

from __future__ import annotations

from opsin.core.registry import Registry

MODELS = Registry(
    "model",
    [
        ("tinyvgg", "opsin.models.tinyvgg:TinyVGG"),
        ("lenet", "opsin.models.lenet:LeNet"),
        ("cnn3", "opsin.models.cnn3:CNN3"),
    ],
)
