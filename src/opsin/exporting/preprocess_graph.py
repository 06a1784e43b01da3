"""The `PreprocessSpec` as ONNX nodes: uint8 B 3 H W of any size in, float32 B 3 H W out.

`Resize` needs `antialias=1` and `exclude_outside=1` to stay within one level of Pillow's; on
uint8 it rounds as Pillow does. Like Pillow it goes first along W, then along H, because bicubic
overshoots are cut off after each pass (in one node the gap was up to 15 levels). Boxes are
integers, computed by the formulas of `PreprocessSpec.source_box` and `target_box`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsin.core.preprocess import PreprocessSpec

if TYPE_CHECKING:
    import onnx

OPSET = 20
INPUT = "image"
OUTPUT = "normalised"
PREPARED = "prepared"
"""The tensor inside: uint8 B 3 H W of `prepared_px`."""
PREFIX = "preprocess/"
"""Before every name but `INPUT` in the merged graph, so that the model's names cannot meet them."""


def preprocess_model(spec: PreprocessSpec, *, ir_version: int = 10) -> onnx.ModelProto:
    """An ONNX model with input `image` (uint8 B 3 H W) and output `normalised` (float32)."""
    from onnx import parser

    body = "\n".join([*_boxes(spec), *_resize(spec), *_normalise(spec)])
    height, width = spec.size_px
    return parser.parse_model(f"""
        <ir_version: {ir_version}, opset_import: ["" : {OPSET}]>
        preprocess (uint8[batch, 3, height, width] {INPUT})
            => (float[batch, 3, {height}, {width}] {OUTPUT}) {{
            {body}
        }}
    """)


def _ints(name: str, *values: int) -> str:
    listed = ", ".join(str(value) for value in values)
    return f"{name} = Constant <value = int64[{len(values)}] {{{listed}}}> ()"


def _floats(name: str, values: tuple[float, ...]) -> str:
    listed = ", ".join(repr(float(value)) for value in values)
    return f"{name} = Constant <value = float[1, {len(values)}, 1, 1] {{{listed}}}> ()"


def _boxes(spec: PreprocessSpec) -> list[str]:
    """The sizes that the other parts share."""
    shared = [_ints("prepared_hw", *spec.prepared_px), _ints("axes", 2, 3)]
    if spec.resize == "stretch":
        return shared
    return [
        *shared,
        f"source_hw = Shape <start = 2, end = 4> ({INPUT})",
        _ints("prepared_wh", *reversed(spec.prepared_px)),
        _ints("one", 1),
        _ints("two", 2),
        _ints("row", 0),
        _ints("column", 1),
        "source_h = Gather (source_hw, row)",
        "source_w = Gather (source_hw, column)",
        "source_wh = Concat <axis = 0> (source_w, source_h)",
    ]


def _two_passes(spec: PreprocessSpec, source: str, size_hw: str, result: str) -> list[str]:
    mode = {"bilinear": "linear", "bicubic": "cubic"}[spec.interpolation]

    def resize(axis: int) -> str:
        return (
            f'Resize <mode = "{mode}", cubic_coeff_a = -0.5, antialias = 1, exclude_outside = 1, '
            f'coordinate_transformation_mode = "half_pixel", axes = [{axis}]>'
        )

    return [
        _ints("first", 0),
        _ints("second", 1),
        f"to_h = Gather ({size_hw}, first)",
        f"to_w = Gather ({size_hw}, second)",
        f"wide = {resize(3)} ({source}, , , to_w)",
        f"{result} = {resize(2)} (wide, , , to_h)",
    ]


def _resize(spec: PreprocessSpec) -> list[str]:
    if spec.resize == "stretch":
        return _two_passes(spec, INPUT, "prepared_hw", "prepared")
    if spec.resize == "crop":
        return [
            # box = min(source, max(1, other side of source * wanted // other side of wanted))
            "across = Mul (source_wh, prepared_hw)",
            "wanted = Div (across, prepared_wh)",
            "at_least = Max (wanted, one)",
            "box = Min (at_least, source_hw)",
            "rest = Sub (source_hw, box)",
            "start = Div (rest, two)",
            "end = Add (start, box)",
            f"used = Slice ({INPUT}, start, end, axes)",
            *_two_passes(spec, "used", "prepared_hw", "prepared"),
        ]
    red, green, blue = spec.pad_rgb
    return [
        # box = min(wanted, max(1, source * other side of wanted // other side of source))
        "across = Mul (source_hw, prepared_wh)",
        "fitting = Div (across, source_wh)",
        "at_least = Max (fitting, one)",
        "box = Min (at_least, prepared_hw)",
        *_two_passes(spec, INPUT, "box", "fitted"),
        "rest = Sub (prepared_hw, box)",
        "start = Div (rest, two)",
        "end = Sub (rest, start)",
        "pads = Concat <axis = 0> (start, end)",
        # The margin is black in `padded`; the inside is 255 in `inside`, so that the colour can
        # be added where the picture is not.
        f"colour = Constant <value = uint8[1, 3, 1, 1] {{{red}, {green}, {blue}}}> ()",
        "black = Constant <value = uint8 {0}> ()",
        "padded = Pad (fitted, pads, black, axes)",
        "box_shape = Concat <axis = 0> (one, one, box)",
        "ones = ConstantOfShape <value = uint8[1] {1}> (box_shape)",
        "inside = Pad (ones, pads, black, axes)",
        "is_inside = Cast <to = 9> (inside)",
        "prepared = Where (is_inside, padded, colour)",
    ]


def _normalise(spec: PreprocessSpec) -> list[str]:
    top, left = spec.margin_px
    height, width = spec.size_px
    return [
        _ints("centre_start", top, left),
        _ints("centre_end", top + height, left + width),
        "centre = Slice (prepared, centre_start, centre_end, axes)",
        "values = Cast <to = 1> (centre)",
        "scale = Constant <value = float {255.0}> ()",
        "scaled = Div (values, scale)",
        _floats("mean", spec.mean),
        _floats("std", spec.std),
        "centred = Sub (scaled, mean)",
        f"{OUTPUT} = Div (centred, std)",
    ]
