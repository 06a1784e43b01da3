"""Small genuine bundles: a model that sees the mean colour, with its golden samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from opsin.bundle.manifest import ModelEntry
from opsin.bundle.pack import pack, staged
from opsin.core.extras import require
from opsin.core.preprocess import PreprocessSpec

SIZE_PX = 64
SHARPNESS = 8.0
_SLOW_SIDE = 256


def tiny_bundle(
    folder: Path,
    classes: tuple[str, ...] = ("red", "green", "blue"),
    *,
    traps: bool = False,
    slow_steps: int = 1500,
) -> Path:
    """Write a bundle to `folder`, which must not exist, and return it.

    Class k is as probable as channel k % 3 is bright on average. With `traps`, a picture that is
    white all over is answered with NaN, and one that is black all over costs `slow_steps` matrix
    products (about a second) before its answer. Needs onnx and safetensors.
    """
    safetensors = require("safetensors.numpy", purpose="a tiny bundle")
    weights = _weights(len(classes))
    with staged(folder) as stage:
        pack(
            stage,
            graph=_graph(weights, slow_steps if traps else 0).SerializeToString(),
            weights=safetensors.save(weights),
            spec=PreprocessSpec(size_px=(SIZE_PX, SIZE_PX)),
            classes=classes,
            task="classification",
            model=ModelEntry(
                name="mean_colour",
                num_outputs=len(classes),
                parameters=sum(array.size for array in weights.values()),
            ),
            source="opsin.testing.bundles",
        )
    return folder


def _weights(num_classes: int) -> dict[str, Any]:
    weight = np.zeros((3, num_classes), np.float32)
    for k in range(num_classes):
        weight[k % 3, k] = SHARPNESS / 255
    bias = np.linspace(0, -0.01, num_classes, dtype=np.float32)  # no ties
    return {"weight": weight, "bias": bias}


def _graph(weights: dict[str, Any], slow_steps: int) -> Any:
    onnx = require("onnx", purpose="a tiny bundle")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    constants = {
        **weights,
        "height_width": np.array([2, 3], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["levels"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["levels", "height_width"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["logits"]),
    ]
    if slow_steps:
        constants |= {
            "brightest": np.array(254.9, np.float32),
            "none": np.array(0, np.float32),
            "steps": np.array(slow_steps, np.int64),
            "go": np.array(True),
            "square": np.eye(_SLOW_SIDE, dtype=np.float32),
        }
        nodes += [
            # the square root of a negative number, for white: NaN, and NaN it stays
            helper.make_node("ReduceMin", ["mean"], ["darkest_channel"], keepdims=0),
            helper.make_node("Sub", ["brightest", "darkest_channel"], ["room"]),
            helper.make_node("Sqrt", ["room"], ["root"]),
            helper.make_node("Mul", ["root", "none"], ["nothing_or_nan"]),
            # a loop that runs for black only
            helper.make_node("ReduceMax", ["mean"], ["brightest_channel"], keepdims=0),
            helper.make_node("Equal", ["brightest_channel", "none"], ["is_black"]),
            helper.make_node("Cast", ["is_black"], ["once"], to=onnx.TensorProto.INT64),
            helper.make_node("Mul", ["once", "steps"], ["trips"]),
            helper.make_node("Loop", ["trips", "go", "square"], ["turned"], body=_slow_body(onnx)),
            helper.make_node("ReduceMax", ["turned"], ["one"], keepdims=0),
            helper.make_node("Mul", ["one", "none"], ["nothing"]),
            helper.make_node("Add", ["logits", "nothing"], ["with_slow"]),
            helper.make_node("Add", ["with_slow", "nothing_or_nan"], ["trapped"]),
        ]
    last = "trapped" if slow_steps else "logits"
    nodes.append(helper.make_node("Softmax", [last], ["probabilities"], axis=1))
    graph = helper.make_graph(
        nodes,
        "mean_colour",
        [helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["B", 3, "H", "W"])],
        [
            helper.make_tensor_value_info(
                "probabilities", onnx.TensorProto.FLOAT, ["B", weights["bias"].size]
            )
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, producer_name="opsin"
    )


def _slow_body(onnx: Any) -> Any:
    helper, proto = onnx.helper, onnx.TensorProto
    square = [_SLOW_SIDE, _SLOW_SIDE]
    return helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"]),
            helper.make_node("MatMul", ["so_far", "so_far"], ["further"]),
        ],
        "slow",
        [
            helper.make_tensor_value_info("step", proto.INT64, []),
            helper.make_tensor_value_info("go_in", proto.BOOL, []),
            helper.make_tensor_value_info("so_far", proto.FLOAT, square),
        ],
        [
            helper.make_tensor_value_info("go_out", proto.BOOL, []),
            helper.make_tensor_value_info("further", proto.FLOAT, square),
        ],
    )
