"""Folders as classes: `root/class/*`, or `root/{train,val,test}/class/*`. Opens no picture."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

from opsin.core.errors import DataRefused, WrongUsage
from opsin.core.finding import Finding
from opsin.core.registry import near
from opsin.data.formats.walk import Walk
from opsin.data.index import Index, Rows
from opsin.data.sniff import FORMAT_OF_SUFFIX

SPLIT_OF_FOLDER = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}

_LAYOUT = "make one folder for each class and put its pictures inside: ROOT/cat/1.jpg"


def read_folder(root: Path, follow_links: bool = False, min_classes: int = 2) -> Index:
    """The index of a folder of class folders, with or without split folders above them.

    `source_id` is the path below `root` with forward slashes, its bytes kept when they are not
    UTF-8. Class folders are searched to any depth. The class list is sorted and the same for all
    splits. What Opsin itself wrote (runs, bundles) is passed over. Raises `WrongUsage` for a path
    that is no folder, `DataRefused` for a folder with fewer than `min_classes` classes.
    """
    root = _existing_folder(root)
    walk = Walk(root, follow_links)
    folders, loose = walk.children()
    if walk.refused:
        raise DataRefused(
            f"permission_denied: {root}; run as a user who can read it",
            code="permission_denied",
            where=str(root),
        )
    if not folders:
        raise _nothing_below(root, loose, walk)
    own = [folder for folder in folders if _is_output(root / folder)]
    folders = [folder for folder in folders if folder not in own]
    if not folders:
        raise _nothing_below(root, loose, walk)
    parts = _split_folders(root, walk, folders)
    findings: list[Finding] = _passed_over(own)
    if parts:
        findings += _beside(folders, parts)
    sources: list[tuple[str | None, str]] = []  # (split, class folder)
    for given, part in parts:
        below, direct = walk.children(part)
        sources += [(given, child) for child in below]
        findings += _loose(direct, part)
    if not parts:
        sources = [(None, child) for child in folders]
    findings += _loose(loose, "")
    names = sorted({PurePosixPath(folder).name for _, folder in sources})
    rows = Rows(root)
    ignored: list[str] = []
    for split, folder in sources:
        target = names.index(PurePosixPath(folder).name)
        for path in walk.files_below(folder):
            if _is_picture(path):
                rows.append(path, target, split)
            else:
                ignored.append(path)
    if not rows:
        raise _no_pictures(root, names, walk, follow_links)
    _refuse_too_few(root, names, min_classes)
    findings += _missing_in_split(names, rows) if parts else []
    findings += _ignored(ignored)
    return Index(root, tuple(names), rows, (*walk.findings(), *findings))


def _existing_folder(root: Path) -> Path:
    root = Path.cwd() / root  # not resolve: a link that a person typed keeps its name
    if root.is_dir():
        return root
    if root.exists():
        what = "a picture" if _is_picture(root.name) else "a file"
        raise WrongUsage(
            f"is {what}, not a folder; supported: a folder with one folder for each class, "
            "or with train, val and test folders of class folders",
            code="not_a_folder",
            where=str(root),
            fix="unpack an archive first; for single pictures use opsin predict",
        )
    if root.is_symlink():
        raise WrongUsage("is a link that points to nothing", code="dangling_link", where=str(root))
    here = root.parent
    try:
        matches = near(root.name, sorted(child.name for child in here.iterdir()))
    except OSError:
        matches = []
    raise WrongUsage(
        "there is no such folder" + (f'; did you mean "{here / matches[0]}"?' if matches else ""),
        code="no_such_path",
        where=str(root),
        fix="" if matches else "check the path for a typing mistake",
    )


def _nothing_below(root: Path, files: list[str], walk: Walk) -> DataRefused:
    pictures = sum(_is_picture(path) for path in files)
    if pictures:
        return DataRefused(
            f"{pictures} picture{'s' * (pictures != 1)} directly in the folder, "
            "but no class folders",
            code="no_class_folders",
            where=str(root),
            fix=_LAYOUT,
        )
    left = [finding.message for finding in walk.findings()]
    if files or left:
        left += [f"{len(files)} other files"] * bool(files)
        return DataRefused(
            f"no pictures and no class folders here ({'; '.join(left)})",
            code="no_pictures",
            where=str(root),
            fix=_LAYOUT,
        )
    return DataRefused("the folder is empty", code="empty_folder", where=str(root), fix=_LAYOUT)


def _split_folders(root: Path, walk: Walk, folders: list[str]) -> list[tuple[str, str]]:
    """(split, folder) of each split folder, or nothing when the folders are classes.

    A class may be called "train" too: so split folders hold folders and no pictures, and either
    nothing else stands beside them, or train has another split beside it.
    """
    named = [folder for folder in folders if folder.lower() in SPLIT_OF_FOLDER]
    if not named:
        return []
    quiet = Walk(root, walk.follow_links)
    nested = []
    for folder in named:
        below, files = quiet.children(folder)
        if below and not any(_is_picture(path) for path in files):
            nested.append(folder)
    if len(named) == len(folders) and not nested:
        raise DataRefused(
            f"{', '.join(named)}: these are splits, but no class folders are inside",
            code="no_class_folders",
            where=str(root),
            fix="make one folder for each class inside: ROOT/train/cat/1.jpg",
        )
    splits = [SPLIT_OF_FOLDER[folder.lower()] for folder in nested]
    if len(named) < len(folders) and not ("train" in splits and len(nested) > 1):
        return []
    for split in set(splits):
        if splits.count(split) > 1:
            both = [name for name in nested if SPLIT_OF_FOLDER[name.lower()] == split]
            raise DataRefused(
                f"{' and '.join(both)} both mean {split}",
                code="split_twice",
                where=str(root),
                fix="merge them, or take one out",
            )
    order = ("train", "val", "test")
    return sorted(zip(splits, nested, strict=True), key=lambda part: order.index(part[0]))


def _beside(folders: list[str], parts: list[tuple[str, str]]) -> list[Finding]:
    used = {folder for _, folder in parts}
    beside = tuple(folder for folder in folders if folder not in used)
    if not beside:
        return []
    message = f"{len(beside)} folder{'s' * (len(beside) != 1)} beside the split folders, not used"
    return [Finding("warning", "ignored_folder", message, beside)]


def _loose(files: list[str], folder: str) -> list[Finding]:
    pictures = tuple(path for path in files if _is_picture(path))
    if not pictures:
        return []
    place = f"in {folder}" if folder else "in the data folder"
    return [
        Finding(
            "warning",
            "outside_class_folders",
            f"{len(pictures)} picture{'s' * (len(pictures) != 1)} directly {place}, not used",
            pictures,
            "move each into the folder of its class",
        )
    ]


def _is_output(folder: Path) -> bool:
    """Whether `folder` is a run or a bundle, or holds one: training in the data folder itself
    puts `runs` beside the classes.
    """
    try:
        inside = [folder, *(child for child in folder.iterdir() if child.is_dir())]
    except OSError:
        return False
    marks = (
        ("config.yaml", "split.json"),
        ("config.yaml", "env.json"),
        ("manifest.json", "golden"),
    )
    return any(all((place / name).exists() for name in mark) for place in inside for mark in marks)


def _passed_over(folders: list[str]) -> list[Finding]:
    if not folders:
        return []
    return [
        Finding(
            "info",
            "ignored_output",
            f"{len(folders)} folder{'s' * (len(folders) != 1)} of Opsin's own runs passed over",
            tuple(folders),
        )
    ]


def _no_pictures(root: Path, names: list[str], walk: Walk, follow_links: bool) -> DataRefused:
    outside = [found for found in walk.findings() if found.code == "link_outside"]
    message = f"{len(names)} folder{'s' * (len(names) != 1)}, but no picture in any"
    fix = f"supported: {' '.join(FORMAT_OF_SUFFIX)}"
    if outside and not follow_links:
        message += f"; {outside[0].message}"
        fix = "--follow-links, if the pictures behind the links are meant"
    return DataRefused(message, code="no_pictures", where=str(root), fix=fix)


def _refuse_too_few(root: Path, names: list[str], min_classes: int) -> None:
    if len(names) < min_classes:
        raise DataRefused(
            f'one class only: "{names[0]}"; at least {min_classes} needed',
            code="one_class",
            where=str(root),
            fix="add a folder for each further class",
        )


def _missing_in_split(names: list[str], rows: Rows) -> list[Finding]:
    findings = []
    targets = rows.targets
    for split in rows.splits.values:
        present = set(targets[rows.splits.where(split)].tolist())
        missing = tuple(name for target, name in enumerate(names) if target not in present)
        if missing:
            quoted = ", ".join(f'"{name}"' for name in missing)
            findings.append(
                Finding(
                    "warning",
                    "class_missing_in_split",
                    f"{split} has no pictures of {quoted}",
                    missing,
                    "check that the class folders are spelled alike in all splits",
                )
            )
    return findings


def _ignored(paths: list[str]) -> list[Finding]:
    if not paths:
        return []
    kinds = Counter(PurePosixPath(path).suffix.lower() or "no extension" for path in paths)
    counts = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    one = len(paths) == 1
    message = f"{len(paths)} file{'s' * (not one)} without a picture's extension, not used: "
    return [Finding("info", "ignored", message + counts, tuple(paths))]


def _is_picture(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in FORMAT_OF_SUFFIX
