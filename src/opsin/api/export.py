"""`opsin export`: a bundle from a run, or from a pretrained model as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from opsin.core.errors import WrongUsage
from opsin.core.extras import require
from opsin.core.files import sha256_file
from opsin.core.progress import Progress, Silent
from opsin.core.registry import unknown

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from opsin.bundle.load import Bundle
    from opsin.core.run_dir import RunDir
    from opsin.data.splits import Split
    from opsin.models.build import Design


def export(
    source: str | Path,
    output: str | Path,
    *,
    weights: str | Path | None = None,
    weights_record: str | Path | None = None,
    labels: Sequence[str] | None = None,
    best: str | None = None,
    progress: Progress | None = None,
) -> Bundle:
    """Write a bundle to `output`, after comparing graph and model.

    `source`: a run folder, or `timm:NAME` with `weights` (the pretrained model with its own head;
    class names come from the record beside the weights, or `labels`). For a run the comparison
    uses its validation pictures where they are still there; `best` takes the weights that were the
    best by that metric (the run's monitor, or one of its `keep_best`).

    Raises `NumbersWrong` (exit 5) on a mismatch; nothing is published then.
    """
    require("torch", purpose="opsin export")
    if str(source).startswith("timm:"):
        return _pretrained(str(source), Path(output), weights, weights_record, labels)
    return _run(Path(source), Path(output), best, progress or Silent())


def _pretrained(
    name: str,
    output: Path,
    weights: str | Path | None,
    weights_record: str | Path | None,
    labels: Sequence[str] | None,
) -> Bundle:
    from opsin.exporting.to_bundle import export_bundle
    from opsin.models.build import build, design, find_origin
    from opsin.tasks.classification import Classification

    if weights is None:
        raise WrongUsage(
            "a pretrained model needs its weights",
            code="no_weights",
            where="weights",
            fix=f"opsin export {name} --weights FILE.safetensors -o {output}",
        )
    origin = find_origin(
        name, weights=Path(weights), record=Path(weights_record) if weights_record else None
    )
    plan = design(name, origin)
    classes = tuple(labels or (origin.record.labels if origin.record else ()))
    if not classes:
        raise WrongUsage(
            "the record beside the weights names no labels",
            code="no_labels",
            where=str(weights),
            fix='add "labels": [...] to it, in the order of the outputs',
        )
    task = Classification(classes)
    model = build(plan, origin, len(classes), seed=0, keep_head=True)
    return export_bundle(model.eval(), task, plan, unique(classes), output, source=name)


def unique(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels that stand twice get a number, because a class is known by its name.

    >>> unique(["crane", "dog", "crane"])
    ('crane', 'dog', 'crane (2)')
    """
    seen: dict[str, int] = {}
    result = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        result.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return tuple(result)


def _run(path: Path, output: Path, best: str | None, progress: Progress) -> Bundle:
    from opsin.api.own.record import refuse_to_rebuild
    from opsin.core.config_file import read_config
    from opsin.core.run_dir import open_run, read_record
    from opsin.data.splits import Split
    from opsin.exporting.to_bundle import export_bundle
    from opsin.models.build import construct
    from opsin.tasks.classification import Classification

    run = open_run(path)
    refuse_to_rebuild(run)
    split = Split.from_dict(read_record(run.split))
    task = Classification(split.classes, loss=str(read_config(run.config)["loss"]))
    plan, tensors, recorded = _trained(run, best)
    model = construct(plan, task.num_outputs)
    model.load_state_dict(tensors)
    pictures = _val_pictures(run, split, plan, progress)
    return export_bundle(
        model.eval(),
        task,
        plan,
        split.classes,
        output,
        pictures=pictures,
        data_hash=recorded,
        split_hash=sha256_file(run.split),
        source=run.path.name,
    )


def _trained(run: RunDir, by: str | None) -> tuple[Design, dict[str, torch.Tensor], str]:
    """Design, weights and data hash: the best weights by the metric `by`; without one those of the
    run's bundle, or else of its checkpoints.
    """
    from opsin.core.config_checks import make_config
    from opsin.core.config_file import read_config
    from opsin.core.run_dir import read_record
    from opsin.data.manifest import data_hash, read_contents
    from opsin.models.build import Design, design, find_origin
    from opsin.models.weights import read_tensors
    from opsin.training.checkpoint import CheckpointStore
    from opsin.training.history import History
    from opsin.training.monitor import monitor_of
    from opsin.training.snapshot import under

    if by is None and run.bundle.is_dir():
        from opsin.bundle.load import load_bundle

        bundle = load_bundle(run.bundle)
        entry = bundle.manifest.model
        found = Design(entry.name, bundle.spec, dict(entry.options))
        return found, read_tensors(bundle.weights), bundle.manifest.data_hash
    config = make_config(read_config(run.config))
    store = CheckpointStore(run.checkpoints)
    saved, _ = store.newest(set_aside=False)
    kept = [config.monitor, *config.keep_best]
    if by is not None and by not in kept:
        raise unknown("metric", by, kept)
    monitor = monitor_of(by or config.monitor, read_record(run.environment))
    best = History.from_list(monitor, saved.state["history"]).best if saved else None
    if saved is None or best is None:
        raise WrongUsage(
            "this run has no whole checkpoint",
            code="run_incomplete",
            where=str(run.path),
            fix=f"opsin train --resume {run.path}",
        )
    record = config.weights_record
    origin = find_origin(config.model, weights=config.weights, record=record)
    found = design(config.model, origin, image_size=config.image_size, resize=config.resize)
    if by is None and not config.restore_best:
        tensors = under("model.", saved.tensors)
    else:
        tensors = store.best(monitor.name, best.epoch).tensors
    return found, tensors, data_hash(read_contents(run.manifest))


def _val_pictures(
    run: RunDir, split: Split, plan: Design, progress: Progress
) -> list[tuple[str, NDArray[np.uint8]]]:
    """Prepared validation pictures, as many as can still be read."""
    from opsin.core.config_file import read_config
    from opsin.data.scan import scan
    from opsin.exporting.parity import PARITY_PICTURES

    root = Path(read_config(run.config)["data"])
    ids = [name for name in split.splits["val"][:PARITY_PICTURES] if (root / name).is_file()]
    pictures: dict[int, NDArray[np.uint8]] = {}
    scan(
        [(name, root / name) for name in ids],
        spec=plan.spec,
        on_pixels=lambda number, image: pictures.__setitem__(number, image.copy()),
        progress=lambda done, total: progress.step("reading pictures", done, total),
    )
    if not pictures:
        progress.line(f"the run's pictures are not in {root} any more: compared on synthetic ones")
    return [(ids[number], image) for number, image in sorted(pictures.items())]
