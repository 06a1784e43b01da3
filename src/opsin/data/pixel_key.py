"""What prepared pixels depend on beside the file itself: the spec, and everything that decodes."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from opsin.core.preprocess import PreprocessSpec
from opsin.core.version import version

FORMAT_VERSION = 1
"""Of the files in the pixel store."""

SOURCES = (
    "core/magic.py",
    "core/preprocess.py",
    "data/damage.py",
    "data/decode.py",
    "data/jpeg.py",
    "data/plugins.py",
    "data/quiet.py",
    "data/scan_worker.py",
    "data/sniff.py",
    "data/to_rgb.py",
)
"""The code between a file's bytes and its prepared pixels, inside the package."""
FLOAT_PART = {"mean", "std"}
"""The fields of a spec that change no prepared pixel."""


def pixel_key(spec: PreprocessSpec) -> str:
    """The name of the folder for pixels prepared by `spec`: 16 hex digits.

    >>> key = pixel_key(PreprocessSpec(size_px=(64, 64)))
    >>> key == pixel_key(PreprocessSpec(size_px=(64, 64), resize="stretch")), len(key)
    (True, 16)
    >>> key == pixel_key(PreprocessSpec(size_px=(64, 64), resize="pad"))
    False
    """
    text = json.dumps(described(spec), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def described(spec: PreprocessSpec) -> dict[str, Any]:
    """Everything that the key stands for, as a JSON object: `spec.json` in the folder."""
    return {
        "format": FORMAT_VERSION,
        "decoders": dict(_decoders()),
        "spec": spec.model_dump(mode="json", exclude=FLOAT_PART),
    }


@functools.cache
def _decoders() -> tuple[tuple[str, str], ...]:
    import importlib.util
    from importlib import metadata

    import PIL
    from PIL import features

    found = {
        "pillow": PIL.__version__,
        "jpeg": str(features.version("jpg")),
        "libjpeg_turbo": str(features.version("libjpeg_turbo")),
        "webp": str(features.version("webp")),
        "opsin_sources": _sources_hash(),
    }
    if importlib.util.find_spec("simplejpeg"):
        found["simplejpeg"] = metadata.version("simplejpeg")
    return tuple(found.items())


def _sources_hash() -> str:
    """A hash, not a number that somebody would have to remember to raise: pixels that an older
    rule made are never taken for those of a newer one.
    """
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    try:
        for name in SOURCES:
            digest.update(name.encode() + b"\0" + (root / name).read_bytes())
    except OSError:  # installed without its sources
        return version()
    return digest.hexdigest()[:16]
