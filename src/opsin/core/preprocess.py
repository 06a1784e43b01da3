"""`PreprocessSpec`: the one definition of how a picture becomes a model's input.

It is compiled to three places, and a test compares them on the same bytes:

- here: `prepare` (Pillow, uint8 to uint8) is what loader and server call on each picture;
- `opsin.data.transform.Normalise`: the float part, in torch, for the loop;
- `opsin.exporting.preprocess_graph`: both parts as ONNX nodes, inside the exported graph.

A prepared picture passes the graph's own resize unchanged, because `prepare` of a picture that
already has `prepared_px` changes nothing. That is why the margin of `crop_frac` is cut in the
float part and not in `prepare`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

Resize = Literal["stretch", "crop", "pad"]
Interpolation = Literal["bilinear", "bicubic"]
Box = tuple[int, int, int, int]
Level = Annotated[int, Field(ge=0, le=255)]

_PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class PreprocessSpec(BaseModel):
    """How an RGB uint8 picture of any size becomes float32 C H W.

    `size_px` (H, W): the model's input. `resize`: `stretch` (both sides to size), `crop` (the
    central box of the output's shape, then resized), `pad` (resized to fit, rest filled with
    `pad_rgb`). `crop_frac` in (0, 1]: resized to `size_px / crop_frac`, of which the centre is
    used (timm's crop_pct). `mean`, `std`: of values in [0, 1], one for each channel. `jpeg_gap`:
    None, or how many times larger than needed a JPEG must stay that is decoded smaller than it is
    (`jpeg_scale`); the exported graph, which is given pixels, knows nothing of it.

    >>> spec = PreprocessSpec(size_px=(224, 224), resize="crop", crop_frac=0.875)
    >>> spec.prepared_px
    (256, 256)
    >>> spec.prepare(np.zeros((300, 500, 3), np.uint8)).shape
    (256, 256, 3)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size_px: tuple[PositiveInt, PositiveInt]
    resize: Resize = "stretch"
    interpolation: Interpolation = "bilinear"
    crop_frac: float = Field(default=1.0, gt=0, le=1)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (1.0, 1.0, 1.0)
    pad_rgb: tuple[Level, Level, Level] = (0, 0, 0)
    jpeg_gap: float | None = Field(default=None, ge=1, allow_inf_nan=False)

    @property
    def prepared_px(self) -> tuple[int, int]:
        """(H, W) of a prepared picture."""
        height, width = self.size_px
        return round(height / self.crop_frac), round(width / self.crop_frac)

    @property
    def margin_px(self) -> tuple[int, int]:
        """(top, left) of `size_px` inside `prepared_px`."""
        (height, width), (tall, wide) = self.size_px, self.prepared_px
        return (tall - height) // 2, (wide - width) // 2

    def source_box(self, height: int, width: int) -> Box:
        """(top, left, height, width) of the source that is used; whole unless `crop`.

        Integer arithmetic only, so that the ONNX graph computes the very same box.
        """
        if self.resize != "crop":
            return 0, 0, height, width
        tall, wide = self.prepared_px
        box_h = min(height, max(1, width * tall // wide))
        box_w = min(width, max(1, height * wide // tall))
        return (height - box_h) // 2, (width - box_w) // 2, box_h, box_w

    def target_box(self, height: int, width: int) -> Box:
        """(top, left, height, width) of the prepared picture that is filled; whole unless `pad`."""
        tall, wide = self.prepared_px
        if self.resize != "pad":
            return 0, 0, tall, wide
        box_h = min(tall, max(1, height * wide // width))
        box_w = min(wide, max(1, width * tall // height))
        return (tall - box_h) // 2, (wide - box_w) // 2, box_h, box_w

    def jpeg_scale(self, height: int, width: int) -> Literal[1, 2, 4, 8]:
        """By how much the sides of an upright JPEG of this size are divided as it is decoded: the
        most that leaves the part of it that is used `jpeg_gap` times as large as it will be.

        Powers of two only: there all decoders built on libjpeg-turbo give the same pixels.

        >>> spec = PreprocessSpec(size_px=(64, 64), resize="crop", jpeg_gap=2)
        >>> spec.jpeg_scale(512, 2000), spec.jpeg_scale(511, 512), spec.jpeg_scale(200, 200)
        (4, 2, 1)
        """
        if self.jpeg_gap is None:
            return 1
        _, _, box_h, box_w = self.source_box(height, width)
        _, _, to_h, to_w = self.target_box(height, width)
        scales: tuple[Literal[2, 4, 8], ...] = (8, 4, 2)
        for scale in scales:
            least = self.jpeg_gap * scale
            if box_h >= least * to_h and box_w >= least * to_w:
                return scale
        return 1

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 H W 3 of any size to uint8 `prepared_px` 3, contiguous. Changes nothing when
        the size fits already.
        """
        height, width = image.shape[:2]
        if (height, width) == self.prepared_px:
            return np.ascontiguousarray(image)
        top, left, box_h, box_w = self.source_box(height, width)
        to_top, to_left, to_h, to_w = self.target_box(height, width)
        source = image[top : top + box_h, left : left + box_w]
        if (box_h, box_w) == (to_h, to_w):
            resized = np.ascontiguousarray(source)
        else:
            # Along W, then along H: Pillow's own order depends on its version and the sizes, and
            # bicubic overshoots are cut off after each pass, so the order shows.
            method = _PILLOW[self.interpolation]
            wide = Image.fromarray(np.ascontiguousarray(source)).resize((to_w, box_h), method)
            resized = np.array(wide.resize((to_w, to_h), method))
        if (to_h, to_w) == self.prepared_px:
            return resized
        canvas = np.empty((*self.prepared_px, 3), np.uint8)
        canvas[:] = self.pad_rgb
        canvas[to_top : to_top + to_h, to_left : to_left + to_w] = resized
        return canvas

    def normalise(self, prepared: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 B C H W of `prepared_px` to float32 B C H W of `size_px`: the reference for the
        torch and ONNX forms, computed in float32 as (x / 255 - mean) / std.
        """
        top, left = self.margin_px
        height, width = self.size_px
        centre = prepared[:, :, top : top + height, left : left + width]
        mean = np.array(self.mean, np.float32).reshape(1, 3, 1, 1)
        std = np.array(self.std, np.float32).reshape(1, 3, 1, 1)
        return (centre.astype(np.float32) / np.float32(255) - mean) / std
