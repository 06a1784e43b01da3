"""`opsin cache`: what is kept for later runs, and the way to be rid of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from opsin.core.cache_dir import VARIABLE, cache_dir
from opsin.core.config import seconds_of
from opsin.core.errors import NoRoom, WrongUsage
from opsin.core.machine_record import RECORDS
from opsin.core.registry import unknown
from opsin.data.pixel_file import slots_in
from opsin.data.pixel_folder import LEFT_AFTER_S, OURS, TEMPORARY

KINDS = {
    "pixels": (OURS, "prepared pictures"),
    "features": (
        re.compile(r"[0-9a-f]{32}\.[0-9a-f]{16}\.safetensors"),
        "what frozen backbones say of pictures",
    ),
    "machine": (RECORDS, "the fastest settings of this machine"),
}
"""Kind, which is also its folder: the names of its files, and what they hold."""
_LEFT = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_KEY = re.compile(r"[0-9a-f]{16}")
_LEGEND = "spec.json"
_ELSEWHERE = f"move that file, or name a folder: {VARIABLE}=DIR"


@dataclass(frozen=True)
class Kept:
    """Files of one kind that belong together.

    `holds`: in words; `pictures`: how many, 0 where that is not known; `last_used`: seconds since
    1970.
    """

    kind: str
    path: Path
    holds: str
    files: int
    pictures: int
    size_bytes: int
    last_used: float

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self) | {"path": str(self.path)}


@dataclass(frozen=True)
class CacheResult:
    """`kept`: what lies in `folder`; `cleared`: what was deleted from it now."""

    folder: Path
    kept: tuple[Kept, ...]
    cleared: tuple[Kept, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Of everything that is kept."""
        return sum(entry.size_bytes for entry in self.kept)

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "folder": str(self.folder),
            "size_bytes": self.size_bytes,
            "kept": [entry.to_dict() for entry in self.kept],
            "cleared": [entry.to_dict() for entry in self.cleared],
        }


def cache(*, clear: str | None = None, older_than: str | float | None = None) -> CacheResult:
    """What is kept for later runs in the cache folder ($OPSIN_CACHE_DIR).

    `clear`: delete `pixels`, `features`, `machine` or `all`, at the price of computing them again.
    `older_than`: only what was not used for so long (seconds, or 90s, 20m, 1.5h, 30d). Only files
    that Opsin wrote are touched, and links are not followed. A run that is using them goes on.

    Raises `WrongUsage`, `NoRoom` where nothing can be deleted.
    """
    age_s = _age_s(older_than)
    if clear is not None and clear not in (*KINDS, "all"):
        raise unknown("kind", clear, [*KINDS, "all"])
    folder = cache_dir()
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise WrongUsage(
                "the cache folder is, or is below, a file",
                code="not_a_folder",
                where=str(place),
                fix=_ELSEWHERE,
            )
    groups = list(_groups(folder, time.time() - age_s if age_s is not None else None))
    if clear is None:
        return CacheResult(folder, tuple(_summary(*group) for group in groups))
    kept, cleared = [], []
    for kind, path, files in groups:
        if clear not in (kind, "all"):
            kept.append(_summary(kind, path, files))
            continue
        summary = _summary(kind, path, files)
        left = [file for file in files if not _deleted(file[0])]
        if len(left) == len(files):
            raise NoRoom(
                "what is kept there cannot be deleted: not writable",
                where=str(path),
                fix=f"run as its owner, or name another folder: {VARIABLE}=DIR",
            )
        if left:
            kept.append(_summary(kind, path, left))
        if len(left) < len(files):
            cleared.append(summary)
        _tidy(kind, path)
    return CacheResult(folder, tuple(kept), tuple(cleared))


File = tuple[Path, os.stat_result]


def _groups(folder: Path, used_before: float | None) -> Iterator[tuple[str, Path, list[File]]]:
    """(kind, folder, files) for each folder that holds some, links left out."""
    for kind, (names, _) in KINDS.items():
        for path in _real_folders(folder / kind, deep=kind == "pixels"):
            files = [
                (file, status)
                for file, status in _files(path)
                if names.fullmatch(file.name)
                and (used_before is None or status.st_mtime < used_before)
            ]
            if files:
                yield kind, path, files


def _real_folders(folder: Path, *, deep: bool) -> list[Path]:
    """`folder`, or with `deep` the folders in it that are called by a key; links are nobody's."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    if not deep:
        return [folder]
    with contextlib.suppress(OSError):
        inside = [path for path in sorted(folder.iterdir()) if _KEY.fullmatch(path.name)]
        return [path for path in inside if path.is_dir() and not path.is_symlink()]
    return []


def _files(folder: Path) -> list[File]:
    found: list[File] = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_file(follow_symlinks=False):
                    found.append((Path(entry.path), entry.stat(follow_symlinks=False)))
    return sorted(found, key=lambda file: file[0])


def _summary(kind: str, path: Path, files: list[File]) -> Kept:
    pixels = kind == "pixels"
    return Kept(
        kind,
        path,
        _in_words(path / _LEGEND) if pixels else KINDS[kind][1],
        len(files),
        sum(slots_in(file) for file, _ in files) if pixels else 0,
        sum(status.st_size for _, status in files),
        max(status.st_mtime for _, status in files),
    )


def _in_words(legend: Path) -> str:
    """A `PreprocessSpec` as a person would say it."""
    try:
        spec = json.loads(legend.read_bytes())["spec"]
        height, width = spec["size_px"]
        words = [f"{width} × {height} px", spec["resize"], spec["interpolation"]]
        words += [f"crop {spec['crop_frac']:g}"] if spec["crop_frac"] != 1 else []
        words += [f"JPEG gap {spec['jpeg_gap']:g}"] if spec.get("jpeg_gap") else []
    except (OSError, ValueError, KeyError, TypeError):
        return KINDS["pixels"][1]
    return ", ".join(words)


def _deleted(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _tidy(kind: str, folder: Path) -> None:
    """What killed writers left, and the folder itself where nothing is in it any more."""
    before = time.time() - LEFT_AFTER_S
    temporary = TEMPORARY if kind == "pixels" else _LEFT
    for path, status in _files(folder):
        if temporary.fullmatch(path.name) and status.st_mtime < before:
            _deleted(path)
    with contextlib.suppress(OSError):
        if kind == "pixels" and [path.name for path in folder.iterdir()] == [_LEGEND]:
            _deleted(folder / _LEGEND)
        folder.rmdir()


def _age_s(value: str | float | None) -> float | None:
    """Seconds; days are allowed, too.

    >>> _age_s("30d"), _age_s("20m"), _age_s(None)
    (2592000.0, 1200.0, None)
    """
    if value is None:
        return None
    text = str(value).strip().lower()
    try:
        return 24 * seconds_of(text[:-1] + "h") if text.endswith("d") else seconds_of(text)
    except ValueError:
        raise WrongUsage(
            f"a time is a number and s, m, h or d, for example 30d; came {value!r}",
            where="older_than",
        ) from None
