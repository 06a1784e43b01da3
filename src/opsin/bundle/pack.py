"""Write a bundle: into a folder beside its place, checked there, then renamed into it."""

from __future__ import annotations

import datetime
import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from opsin.bundle import manifest as names
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
_GOLDEN_SIZES = ((48, 64), (97, 61), (64, 64), (200, 320))


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A folder beside `target` that becomes it when the block ends well, and goes away if not.

    Raises `NoRoom` when `target` exists: nothing is ever overwritten.
    """
    if target.exists():
        raise NoRoom(
            "already there; a bundle is never overwritten",
            code="exists",
            where=str(target),
            fix="choose another folder with -o",
        )
    stage = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(stage, ignore_errors=True)
    try:
        stage.mkdir(parents=True)
        yield stage
        stage.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise no_room(target, error) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


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
    (stage / "golden").mkdir()
    pictures = golden_pictures()
    for name, picture in pictures.items():
        write_bytes(stage / name, png(picture))
    write_json(stage / names.GOLDEN, [])

    def manifest(parity: dict[str, Any]) -> Bundle:
        files = {
            path.relative_to(stage).as_posix(): FileEntry(
                sha256=sha256_file(path), size_bytes=path.stat().st_size
            )
            for path in sorted(stage.rglob("*"))
            if path.is_file() and path.name != names.MANIFEST
        }
        record = Manifest(
            task=task,
            opsin=version(),
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            model=model,
            data_hash=data_hash,
            split_hash=split_hash,
            source=source,
            parity=parity,
            files=files,
        )
        write_json(stage / names.MANIFEST, record.model_dump())
        return load_bundle(stage)

    predictor = Predictor(manifest({}))
    parity = check(predictor) if check else {}
    golden = [
        GoldenSample(
            file=name,
            probabilities=tuple(
                predictor.probabilities(as_chw([spec.prepare(picture)]))[0].tolist()
            ),
            tolerance=GOLDEN_TOLERANCE,
        )
        for name, picture in pictures.items()
    ]
    write_json(stage / names.GOLDEN, [sample.model_dump() for sample in golden])
    bundle = manifest(parity)
    replay_golden(Predictor(bundle))
    return bundle


def golden_pictures() -> dict[str, NDArray[np.uint8]]:
    """The synthetic pictures of every bundle, uint8 H W 3: smooth colours with some noise, the
    same everywhere.
    """
    pictures = {}
    for number, (height, width) in enumerate(_GOLDEN_SIZES):
        draw = generator("golden", number)
        corners = draw.integers(0, 256, (3, 3, 3), np.uint8)
        smooth = np.array(
            Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC), np.int16
        )
        noise = draw.integers(-12, 13, smooth.shape, np.int16)
        pictures[f"golden/{number:03d}.png"] = np.clip(smooth + noise, 0, 255).astype(np.uint8)
    return pictures


def png(picture: NDArray[np.uint8]) -> bytes:
    """A uint8 H W 3 picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()
