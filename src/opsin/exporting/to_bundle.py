"""From a torch model to a bundle that has proved itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsin.bundle.load import Bundle, load_bundle
from opsin.bundle.manifest import ModelEntry
from opsin.bundle.pack import golden_pictures, pack, staged
from opsin.bundle.predictor import Predictor
from opsin.core.extras import require
from opsin.exporting.parity import check_parity
from opsin.exporting.raw_parity import check_raw_parity
from opsin.exporting.registry import TARGETS
from opsin.models.build import Design
from opsin.models.classifier import Classifier, count_parameters
from opsin.tasks.task import Task


def export_bundle(
    model: Classifier,
    task: Task,
    design: Design,
    classes: Sequence[str],
    target: Path,
    *,
    pictures: Sequence[tuple[str, NDArray[np.uint8]]] = (),
    data_hash: str = "",
    split_hash: str = "",
    source: str = "",
) -> Bundle:
    """Write the bundle to `target`; it appears there only when graph and model agree.

    `pictures`: real prepared pictures (name, uint8 H W 3) for the comparison, beside the golden
    ones, which are always compared, prepared and raw. Raises `NoRoom` when `target` exists or
    cannot be written, before anything is computed, and `NumbersWrong` on a mismatch.
    """
    require("safetensors", purpose="export")
    from safetensors.torch import save

    spec = design.spec

    def check(predictor: Predictor) -> dict[str, Any]:
        raw = golden_pictures()
        compared = [(name, spec.prepare(picture)) for name, picture in raw.items()]
        prepared = check_parity(predictor, model, task, [*compared, *pictures])
        return prepared | check_raw_parity(predictor, model, task, raw)

    with staged(target) as stage:
        tensors = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
        pack(
            stage,
            graph=TARGETS.load("onnx")(model, task, spec),
            weights=save(tensors),
            spec=spec,
            classes=tuple(classes),
            task=task.kind,
            model=ModelEntry(
                name=design.name,
                options=design.options,
                num_outputs=task.num_outputs,
                parameters=count_parameters(model),
            ),
            data_hash=data_hash,
            split_hash=split_hash,
            source=source,
            check=check,
        )
    return load_bundle(target)
