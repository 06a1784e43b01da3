"""The key names everything that the pixels depend on."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from opsin.core.preprocess import PreprocessSpec
from opsin.data import pixel_key
from opsin.data.pixel_key import SOURCES, described

SRC = Path(pixel_key.__file__).parents[1]
WITHOUT_PIXELS = {
    "core/allocator.py",
    "core/errors.py",
    "core/extras.py",
    "core/files.py",
    "core/isolated.py",
    "core/registry.py",
    "core/version.py",
    "core/words.py",
}
"""What the decoding code imports too, and what no pixel depends on."""


def imported(name: str) -> set[str]:
    """The files of the package that a file imports."""
    found = set()
    for node in ast.walk(ast.parse((SRC / name).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("opsin."):
            found.add(str(node.module).removeprefix("opsin.").replace(".", "/") + ".py")
    return found


def test_the_list_of_sources_is_whole() -> None:
    seen, todo = set(), {"data/scan_worker.py"}
    while todo:
        name = todo.pop()
        seen.add(name)
        todo |= imported(name) - seen - WITHOUT_PIXELS
    assert sorted(seen) == sorted(SOURCES)


@pytest.mark.parametrize(
    "change",
    [
        {"size_px": (65, 64)},
        {"resize": "pad"},
        {"interpolation": "bicubic"},
        {"crop_frac": 0.5},
        {"pad_rgb": (1, 2, 3)},
        {"jpeg_gap": 2.0},
    ],
)
def test_another_spec_is_another_key(change: dict[str, object]) -> None:
    spec = PreprocessSpec(size_px=(64, 64))
    other = PreprocessSpec.model_validate(spec.model_dump() | change)
    assert pixel_key.pixel_key(spec) != pixel_key.pixel_key(other)


@pytest.mark.parametrize("change", [{"mean": (0.5, 0.5, 0.5)}, {"std": (0.5, 0.5, 0.5)}])
def test_what_comes_after_the_pixels_is_the_same_key(change: dict[str, object]) -> None:
    spec = PreprocessSpec(size_px=(64, 64))
    other = PreprocessSpec.model_validate(spec.model_dump() | change)
    assert pixel_key.pixel_key(spec) == pixel_key.pixel_key(other)


def test_another_decoder_or_another_rule_is_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = PreprocessSpec(size_px=(64, 64))
    keys = {pixel_key.pixel_key(spec)}
    names = list(described(spec)["decoders"])
    assert {"pillow", "libjpeg_turbo", "webp", "opsin_sources"} <= set(names)
    for name in names:
        decoders = described(spec)["decoders"] | {name: "another"}
        monkeypatch.setattr(pixel_key, "_decoders", lambda found=decoders: tuple(found.items()))
        keys.add(pixel_key.pixel_key(spec))
        monkeypatch.undo()
    assert len(keys) == 1 + len(names)
