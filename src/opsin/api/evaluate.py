"""`opsin evaluate`: the numbers of a run, from saved predictions or on new data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from opsin.core.columns import Codes, Texts
from opsin.core.errors import DataRefused, WrongUsage
from opsin.core.progress import Progress, Silent
from opsin.core.registry import near
from opsin.core.report import Report
from opsin.core.run_dir import open_run, read_record


def evaluate(
    run: str | Path, data: str | Path | None = None, *, progress: Progress | None = None
) -> Report:
    """Accuracy, precision, recall, F1, support, confusion matrix and baseline of each split.

    Without `data` from the run's predictions.csv; with it, the bundle of `run` (a run or a
    bundle) is asked about every picture of `data`, whose classes must be among the bundle's; the
    splits that `data` names are kept apart, otherwise all of it is the split "data".

    Raises `WrongUsage`, `DataRefused`, `ModelRefused`.
    """
    from opsin.core.config_file import read_config
    from opsin.data.balance import choose_balance
    from opsin.data.splits import Split
    from opsin.evaluation.classification import evaluate_classification
    from opsin.evaluation.predictions import PredictionTable

    if data is not None:
        return _on_new_data(Path(run), Path(data), progress or Silent())
    folder = open_run(Path(run))
    split = Split.from_dict(read_record(folder.split))
    if not folder.predictions.is_file():
        raise WrongUsage(
            "this run has no predictions.csv: it did not get so far",
            code="run_incomplete",
            where=str(folder.path),
            fix=f"opsin train --resume {folder.path}",
        )
    try:
        table = PredictionTable.read(folder.predictions, split.classes)
    except (ValueError, KeyError, StopIteration) as error:
        raise WrongUsage(
            f"damaged: {error}",
            code="run_damaged",
            where=str(folder.predictions),
            fix=f"opsin train --resume {folder.path} writes it again",
        ) from error
    targets = table.true[table.rows("train")].tolist()
    setting = read_config(folder.config).get("balance", "none")
    return evaluate_classification(
        table,
        train_targets=targets or None,
        leaks=set(split.leaks),
        balance=choose_balance(targets, split.classes, setting).to_dict() if targets else None,
    )


def _on_new_data(path: Path, data: Path, progress: Progress) -> Report:
    from opsin.bundle.load import load_bundle
    from opsin.bundle.predict_files import Refused, predict_files
    from opsin.bundle.predictor import Predictor
    from opsin.data.intake import read_index
    from opsin.data.scan import Chosen
    from opsin.evaluation.classification import evaluate_classification
    from opsin.evaluation.predictions import PredictionTable

    bundle = load_bundle(path)
    index = read_index(data, min_classes=1)
    number = {name: at for at, name in enumerate(bundle.classes)}
    for name in index.classes:
        if name not in number:
            meant = near(name, list(bundle.classes))
            raise DataRefused(
                f'class "{name}" is not one of the bundle\'s'
                + (f' (did you mean "{meant[0]}"?)' if meant else ""),
                code="unknown_class",
                where=str(data),
                fix=f"the bundle knows: {', '.join(bundle.classes[:20])}",
            )
    try:
        found = predict_files(
            Predictor(bundle),
            Chosen(index.rows, range(len(index.rows))),
            on_file=lambda done, total: progress.step("evaluate", done, total),
        )
    finally:
        progress.close()
    pairs = [
        (row, answer)
        for row, answer in zip(index.rows, found, strict=True)
        if not isinstance(answer, Refused)
    ]
    skipped = [answer.source_id for answer in found if isinstance(answer, Refused)]
    if not pairs:
        raise DataRefused("none of the pictures can be used", where=str(data))
    table = PredictionTable(
        classes=bundle.classes,
        split=Codes(row.split or "data" for row, _ in pairs),
        ids=Texts(row.source_id for row, _ in pairs),
        true=np.array([number[index.classes[row.target]] for row, _ in pairs], np.int64),
        probabilities=np.array([answer.probabilities for _, answer in pairs], np.float64),
    )
    report = evaluate_classification(table)
    report.settings |= {"data": str(data), "bundle": bundle.hash, "skipped": skipped}
    return report
