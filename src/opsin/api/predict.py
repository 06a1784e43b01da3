"""`opsin predict`: ask a bundle about pictures. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from opsin.bundle.predict_files import Refused, predict_files
from opsin.core.prediction import ClassPrediction
from opsin.core.progress import Progress, Silent
from opsin.data.find import find_pictures

Answer = ClassPrediction | Refused


def predict(
    run_or_bundle: str | Path, *paths: str | Path, progress: Progress | None = None
) -> list[ClassPrediction]:
    """The prediction for each picture; folders stand for the pictures below them.

    Raises `Undecodable` for the first picture that cannot be used; `answers` gives both kinds.
    """
    found = answers(run_or_bundle, [Path(path) for path in paths], progress=progress)
    for answer in found:
        if isinstance(answer, Refused):
            raise answer.error
    return [answer for answer in found if isinstance(answer, ClassPrediction)]


def answers(
    run_or_bundle: str | Path,
    paths: Sequence[Path],
    *,
    progress: Progress | None = None,
    threads: int = 0,
) -> list[Answer]:
    """An answer for each picture: a prediction, or why the file was refused."""
    from opsin.bundle.load import load_bundle
    from opsin.bundle.predictor import Predictor

    progress = progress or Silent()
    predictor = Predictor(load_bundle(Path(run_or_bundle)), threads=threads)
    files = list(find_pictures(paths, on_aside=progress.line))
    try:
        return predict_files(
            predictor,
            files,
            on_file=lambda done, total: progress.step("predict", done, total),
        )
    finally:
        progress.close()
