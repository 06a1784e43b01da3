"""The model and its preprocessing as one ONNX graph."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from opsin.bundle.predictor import ANSWER
from opsin.core.extras import require
from opsin.core.preprocess import PreprocessSpec
from opsin.exporting.preprocess_graph import OPSET, OUTPUT, PREFIX, preprocess_model
from opsin.tasks.task import Task


class _Answer(nn.Module):
    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model = model
        self.task = task

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.task.answer(self.model(x))


def onnx_graph(model: nn.Module, task: Task, spec: PreprocessSpec) -> bytes:
    """uint8 `image` B 3 H W of any size to float32 `probabilities` B K, as ONNX bytes.

    The model is exported in evaluation mode and left in the mode it was in.
    """
    onnx = require("onnx", purpose="export to ONNX")
    require("onnxscript", purpose="export to ONNX")
    from onnx import compose

    training = model.training
    height, width = spec.size_px
    device = next(model.parameters()).device
    with warnings.catch_warnings():
        # torch's exporter warns of its own deprecations; none of them is ours to mend.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Answer(model, task).eval(),
            (torch.zeros(2, 3, height, width, device=device),),
            dynamo=True,
            input_names=[OUTPUT],
            output_names=[ANSWER],
            dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            verbose=False,
        )
    model.train(training)
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    core = program.model_proto
    front = preprocess_model(spec, ir_version=core.ir_version)
    # Names of the two halves must not meet.
    front = compose.add_prefix(front, PREFIX, rename_inputs=False, rename_outputs=False)
    core = compose.add_prefix(core, "model/", rename_inputs=False, rename_outputs=False)
    core.graph.input[0].name = "model/input"
    for node in core.graph.node:
        for at, name in enumerate(node.input):
            if name == OUTPUT:
                node.input[at] = "model/input"
    merged = compose.merge_models(front, core, io_map=[(OUTPUT, "model/input")])
    merged.producer_name = "opsin"
    onnx.checker.check_model(merged)
    graph: bytes = merged.SerializeToString()
    return graph
