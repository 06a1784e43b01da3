"""A walk through folders that ends, stays inside, and comes in the same order everywhere."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from opsin.core.finding import Finding

JUNK = frozenset({"__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db"})
"""What operating systems leave behind; hidden names are junk as well."""


def is_junk(name: str) -> bool:
    """Whether a name is to be passed over without a word.

    >>> [name for name in (".DS_Store", "Thumbs.db", "cat.jpg") if not is_junk(name)]
    ['cat.jpg']
    """
    return name.startswith(".") or name.lower() in JUNK


@dataclass
class Walk:
    """Walks below `root` and collects the links that it did not follow.

    A link is followed when it stays inside `root`, or `follow_links` is set. A folder that is
    reached by links is entered once for each start of the walk.
    """

    root: Path
    follow_links: bool = False
    dangling: list[str] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._real_root = os.path.realpath(self.root)

    def children(self, folder: str = "") -> tuple[list[str], list[str]]:
        """(folders, files) directly in `folder`, as sorted paths relative to the root."""
        folders: list[str] = []
        files: list[str] = []
        try:
            with os.scandir(self.root / folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except PermissionError:
            self.refused.append(folder or ".")
            return [], []
        for entry in found:
            if is_junk(entry.name):
                continue
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_symlink() and not self._may_follow(path):
                continue
            if entry.is_dir():
                folders.append(path)
            elif entry.is_file():
                files.append(path)
            else:
                self.special.append(path)
        return folders, files

    def files_below(self, folder: str = "") -> Iterator[str]:
        """Every regular file below `folder`, relative to the root, folder by folder, sorted."""
        parents = reversed(PurePosixPath(folder).parents)
        above = tuple(os.path.realpath(self.root / parent) for parent in parents)
        yield from self._below(folder, above, set())

    def _below(self, folder: str, above: tuple[str, ...], linked: set[str]) -> Iterator[str]:
        real = os.path.realpath(self.root / folder)
        if real in above:
            self.loops.append(folder)
            return
        if (self.root / folder).is_symlink():
            if real in linked:
                return
            linked.add(real)
        folders, files = self.children(folder)
        yield from files
        for child in folders:
            yield from self._below(child, (*above, real), linked)

    def _may_follow(self, path: str) -> bool:
        full = self.root / path
        try:
            full.stat()
        except FileNotFoundError:
            self.dangling.append(path)
            return False
        except OSError as error:
            (self.loops if error.errno == errno.ELOOP else self.refused).append(path)
            return False
        if self.follow_links:
            return True
        if Path(os.path.realpath(full)).is_relative_to(self._real_root):
            return True
        self.outside.append(path)
        return False

    def findings(self) -> list[Finding]:
        """One finding for each kind of thing that was left aside, naming all of them."""
        kinds = (
            ("dangling_link", self.dangling, "points to nothing", "restore the file it names"),
            ("link_loop", self.loops, "leads back to itself", "take the link out"),
            (
                "link_outside",
                self.outside,
                "leaves the data folder and was not followed",
                "give --follow-links, or copy the files in",
            ),
            (
                "permission_denied",
                self.refused,
                "cannot be read",
                "run as a user who can read it",
            ),
            ("special_file", self.special, "is not a regular file", "take it out"),
        )
        return [
            Finding("warning", code, _count(paths, says), tuple(sorted(set(paths))), fix)
            for code, paths, says, fix in kinds
            if paths
        ]


def _count(paths: list[str], says: str) -> str:
    number = len(set(paths))
    return f"1 entry {says}" if number == 1 else f"{number} entries, each of which {says}"
