"""`opsin augment`: what a recipe makes of one's own pictures, as a sheet to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsin.core.augment import normalise_augment
from opsin.core.errors import DataRefused, WrongUsage
from opsin.core.files import write_bytes
from opsin.core.finding import Finding
from opsin.core.preprocess import PreprocessSpec
from opsin.core.seeding import generator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from opsin.data.augment.sheet import Cell
    from opsin.data.index import Row

MOST_ROWS, MOST_COLUMNS = 100, 50


@dataclass(frozen=True)
class AugmentResult:
    """`path`: the PNG; `shown`: source ids from top to bottom; `findings`: what was left out."""

    path: Path
    recipe: str
    shown: tuple[str, ...]
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "path": str(self.path),
            "recipe": self.recipe,
            "shown": list(self.shown),
            "findings": [finding.to_dict() for finding in self.findings],
        }


def augment(
    data: str | Path,
    *,
    augment: str = "light",
    rows: int = 4,
    columns: int = 8,
    output: str | Path = "augment.png",
    image_size: int = 160,
    seed: int = 0,
    follow_links: bool = False,
) -> AugmentResult:
    """Write a sheet of `rows` pictures of `data`, spread over its classes: each as it is, then
    `columns` - 1 times as epochs 1, 2 ... of a training with this recipe and seed show it.

    Raises `WrongUsage`, `DataRefused` when no picture can be read, `NoRoom`.

    >>> import opsin
    >>> opsin.augment("photos", augment="flip,rotate=15")  # doctest: +SKIP
    """
    from opsin.data.augment.augmenter import Augmenter
    from opsin.data.augment.sheet import draw_sheet
    from opsin.data.intake import read_index

    _check("rows", rows, 1, MOST_ROWS)
    _check("columns", columns, 2, MOST_COLUMNS)
    _check("image_size", image_size, 8, 1024)
    _check("seed", seed, 0, 2**32 - 1)
    try:
        recipe = normalise_augment(augment)
    except ValueError as error:
        raise WrongUsage(str(error), code="bad_setting", where="augment") from None
    path = Path(output)
    if path.suffix.lower() != ".png":
        raise WrongUsage(f"a sheet is a PNG, came {path.name}", where="output")
    if not path.parent.is_dir():
        raise WrongUsage("no such folder", code="no_such_path", where=str(path.parent))
    index = read_index(Path(data), follow_links=follow_links, min_classes=1)
    _refuse_others_file(path, index.root)
    spec = PreprocessSpec(size_px=(image_size, image_size))
    chosen, pictures, findings = _readable(index.rows, rows, spec, seed)
    if not chosen:
        raise DataRefused(
            "no picture can be read",
            code="too_many_bad_files",
            where=str(index.root),
            fix=f"look at them with: opsin check {data}",
        )
    labels = [index.classes[row.target] for row in chosen]
    augmenter = Augmenter(recipe, seed=seed)
    cells = _cells(augmenter, chosen, pictures, labels, columns)
    title = f"{recipe}, seed {seed}"
    write_bytes(path, draw_sheet(cells, title=title))
    return AugmentResult(path, recipe, tuple(row.source_id for row in chosen), tuple(findings))


def _cells(
    augmenter: Any,
    chosen: Sequence[Row],
    pictures: NDArray[np.uint8],
    labels: Sequence[str],
    columns: int,
) -> list[list[Cell]]:
    """Rows of cells: the picture as it is, then one of each epoch."""
    import torch

    from opsin.data.augment.sheet import Cell

    given = torch.from_numpy(pictures)
    ids = [row.source_id for row in chosen]
    size = (given.shape[-2], given.shape[-1])
    cells = [
        [Cell(picture, (label, name.rpartition("/")[2]))]
        for picture, label, name in zip(pictures, labels, ids, strict=True)
    ]
    others = [*labels[1:], labels[0]]
    for epoch in range(1, columns):
        epochs = [epoch] * len(ids)
        images = augmenter(given, epochs, ids)
        words = augmenter.describe(epochs, ids, size)
        shares = torch.ones(len(ids))
        if augmenter.mixes:
            images, shares = augmenter.mix(images, images.roll(-1, 0), epochs, ids)
        for line, image, said, share, label, other in zip(
            cells, images.numpy(), words, shares.tolist(), labels, others, strict=True
        ):
            mixed = (f"{share:.0%} {label}, {1 - share:.0%} {other}",) if share < 1 else ()
            line.append(Cell(image, (*mixed, *(said.split(", ") if said else ["as it is"]))))
    return cells


def _readable(
    rows: Sequence[Row], count: int, spec: PreprocessSpec, seed: int
) -> tuple[list[Row], NDArray[np.uint8], list[Finding]]:
    """The first `count` of an order that takes the classes in turn: rows, uint8 B 3 H W, and
    what could not be read on the way.
    """
    import numpy as np

    from opsin.data.scan import scan

    chosen: list[Row] = []
    pictures: list[NDArray[np.uint8]] = []
    findings: list[Finding] = []
    waiting = _in_turn(rows, seed)
    while waiting and len(chosen) < count:
        some = waiting[: count - len(chosen)]
        del waiting[: len(some)]
        found: dict[int, NDArray[np.uint8]] = {}
        records = scan(
            [(row.source_id, row.path) for row in some],
            spec=spec,
            on_pixels=_keeper(found),
            workers=1,
        )
        for number, (row, record) in enumerate(zip(some, records, strict=True)):
            if number in found:
                chosen.append(row)
                pictures.append(found[number].transpose(2, 0, 1))
            else:
                findings.append(
                    Finding(
                        "warning",
                        record.error or "unreadable",
                        f"left out: {record.error_message or record.error}",
                        (row.source_id,),
                        "opsin check tells of all",
                    )
                )
    shape = (0, 3, *spec.size_px)
    return chosen, np.stack(pictures) if pictures else np.empty(shape, np.uint8), findings


def _keeper(found: dict[int, NDArray[np.uint8]]) -> Callable[[int, NDArray[np.uint8]], None]:
    def keep(number: int, image: NDArray[np.uint8]) -> None:
        found[number] = image.copy()

    return keep


def _in_turn(rows: Sequence[Row], seed: int) -> list[Row]:
    """One of each class, then the second of each; within a class drawn by the seed."""
    order = generator(seed, "augment sheet").permutation(len(rows))
    of_class: dict[int, int] = {}
    places = []
    for number in order.tolist():
        target = rows[number].target
        of_class[target] = of_class.get(target, -1) + 1
        places.append((of_class[target], target, number))
    return [rows[number] for _, _, number in sorted(places)]


def _refuse_others_file(path: Path, data: Path) -> None:
    """A sheet takes the place of an older sheet and of nothing else."""
    from opsin.data.augment.sheet import is_sheet

    real = path.resolve()
    if data.resolve() in real.parents:
        raise WrongUsage(
            "lies inside the data folder, where the sheet would be a picture of the data",
            code="output_in_data",
            where=str(path),
            fix="-o augment.png",
        )
    if (real.exists() or path.is_symlink()) and not is_sheet(real):
        raise WrongUsage(
            "is there already, and no sheet of opsin's: it is left as it is",
            code="file_exists",
            where=str(path),
            fix="another name with -o",
        )


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise WrongUsage(f"takes {low} to {high}, came {value}", where=name)
