"""The pictures that a person means by naming files and folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from opsin.core.errors import WrongUsage
from opsin.data.formats.walk import Walk
from opsin.data.sniff import FORMAT_OF_SUFFIX


def find_pictures(
    paths: Sequence[Path], *, on_aside: Callable[[str], None] | None = None
) -> Iterator[tuple[str, Path]]:
    """(name, path) of each file named, and of each picture below a folder named.

    Folders are walked as those of a data set are: hidden names and junk are passed over, links
    are followed where they stay inside. `on_aside` is told, in a line, what else was left aside.

    Raises `WrongUsage` for a path that is not there, or a folder without pictures.
    """
    for path in paths:
        if path.is_dir():
            yield from _below(path, on_aside)
        elif path.exists():
            yield str(path), path
        else:
            raise WrongUsage("no such file", code="no_such_path", where=str(path))


def _below(folder: Path, on_aside: Callable[[str], None] | None) -> Iterator[tuple[str, Path]]:
    walk = Walk(folder)
    names = [name for name in walk.files_below() if _is_picture(name)]
    aside = [f"{finding.message} ({', '.join(finding.where)})" for finding in walk.findings()]
    if not names:
        left = f"; {'; '.join(aside)}" if aside else ""
        raise WrongUsage(f"no pictures in this folder{left}", code="empty", where=str(folder))
    if on_aside:
        for line in aside:
            on_aside(f"{folder}: {line}")
    yield from ((str(folder / name), folder / name) for name in names)


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in FORMAT_OF_SUFFIX
