"""Write a bundle: into a folder beside its place, checked there, then moved to it."""

from __future__ import annotations

import datetime
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from opsin.bundle import manifest as names
from opsin.bundle.held_folder import HeldFolder
from opsin.bundle.load import Bundle, load_bundle
from opsin.bundle.manifest import FileEntry, GoldenSample, Manifest, ModelEntry
from opsin.bundle.predictor import Predictor, as_chw
from opsin.bundle.verify import replay_golden
from opsin.core.errors import NoRoom
from opsin.core.files import no_room, sha256_file, sync_folder, write_bytes, write_json
from opsin.core.preprocess import PreprocessSpec
from opsin.core.seeding import generator
from opsin.core.version import version

GOLDEN_TOLERANCE = 1e-3
RAW_TOLERANCE = 2e-3
"""Of the answer through the graph's own resize. The same graph gave the recorded one, and it
resizes in whole numbers, so that no difference at all is expected; but a level rounded otherwise
on another processor is no damage. Without anti-aliasing, five models differed by .0046 to .077."""
_GOLDEN_SIZES_NOISES = (((48, 64), 12), ((97, 61), 12), ((64, 64), 12), ((200, 320), 120))


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A folder beside `target` that becomes it when the block ends well, and goes away if not.

    Meanwhile it is inside `.NAME.RANDOM.unfinished`; what killed exports left of those goes away
    with the next export to `target`. Raises `NoRoom`, when `target` exists before anything else:
    nothing is ever overwritten.
    """
    _refuse_existing(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        held = HeldFolder(target.parent, prefix=f".{target.name}.", suffix=".unfinished")
    except OSError as error:
        raise no_room(target, error) from error
    try:
        stage = held.path / "bundle"
        make_folder(stage)
        yield stage
        _refuse_existing(target)
        try:
            stage.rename(target)
            sync_folder(target.parent)
        except OSError as error:
            raise no_room(target, error) from error
    finally:
        held.close()


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        raise NoRoom(
            "already there; a bundle is never overwritten",
            code="exists",
            where=str(target),
            fix="choose another folder with -o",
        )


def make_folder(path: Path) -> None:
    """Make the folder. Raises `NoRoom`."""
    try:
        path.mkdir()
    except OSError as error:
        raise no_room(path, error) from error


def pack(
    stage: Path,
    *,
    graph: bytes,
    weights: bytes,
    spec: PreprocessSpec,
    classes: tuple[str, ...],
    task: str,
    model: ModelEntry,
    data_hash: str = "",
    split_hash: str = "",
    source: str = "",
    check: Callable[[Predictor], dict[str, Any]] | None = None,
) -> Bundle:
    """Write all files of a bundle into `stage`, the manifest last, and replay its golden samples.

    `check` gets the predictor on the graph as written and raises when its numbers are wrong; what
    it returns is recorded as `parity`. Raises `NumbersWrong`, `NoRoom`.
    """
    write_bytes(stage / names.GRAPH, graph)
    write_bytes(stage / names.WEIGHTS, weights)
    write_bytes(stage / names.PREPROCESS, spec.model_dump_json(indent=2).encode())
    write_json(stage / names.LABELS, {"classes": list(classes)})
    make_folder(stage / "golden")
    pictures = golden_pictures()
    for name, picture in pictures.items():
        write_bytes(stage / name, png(picture))
    record = Manifest(
        task=task,
        opsin=version(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        model=model,
        data_hash=data_hash,
        split_hash=split_hash,
        source=source,
        files={},
    )
    predictor = Predictor(Bundle(stage, "", record, spec, classes, ()))
    parity = check(predictor) if check else {}
    golden = [_golden(predictor, name, picture) for name, picture in pictures.items()]
    write_json(stage / names.GOLDEN, [sample.model_dump() for sample in golden])
    files = {
        path.relative_to(stage).as_posix(): FileEntry(
            sha256=sha256_file(path), size_bytes=path.stat().st_size
        )
        for path in sorted(stage.rglob("*"))
        if path.is_file()
    }
    whole = record.model_copy(update={"parity": parity, "files": files})
    write_json(stage / names.MANIFEST, whole.sealed().model_dump())
    bundle = load_bundle(stage)
    replay_golden(Predictor(bundle))
    return bundle


def _golden(predictor: Predictor, name: str, picture: NDArray[np.uint8]) -> GoldenSample:
    prepared = predictor.bundle.spec.prepare(picture)
    return GoldenSample(
        file=name,
        probabilities=tuple(predictor.probabilities(as_chw([prepared]))[0].tolist()),
        tolerance=GOLDEN_TOLERANCE,
        raw_probabilities=tuple(predictor.probabilities(as_chw([picture]))[0].tolist()),
        raw_tolerance=RAW_TOLERANCE,
    )


def golden_pictures() -> dict[str, NDArray[np.uint8]]:
    """The synthetic pictures of every bundle, uint8 H W 3: smooth colours with noise, the same
    everywhere. The largest has so much noise that a careless resize shows.
    """
    pictures = {}
    for number, ((height, width), level) in enumerate(_GOLDEN_SIZES_NOISES):
        draw = generator("golden", number)
        corners = draw.integers(0, 256, (3, 3, 3), np.uint8)
        smooth = np.array(
            Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC), np.int16
        )
        noise = draw.integers(-level, level + 1, smooth.shape, np.int16)
        pictures[f"golden/{number:03d}.png"] = np.clip(smooth + noise, 0, 255).astype(np.uint8)
    return pictures


def png(picture: NDArray[np.uint8]) -> bytes:
    """A uint8 H W 3 picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()
