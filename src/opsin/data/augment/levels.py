"""Operations on the levels of whole batches, each picture with its own parameter.

All take float32 B C H W in [0, 255] and float32 B 1 1 1, may change the pictures in place, and give
float32 in [0, 255], not rounded, perhaps in the workspace. A picture's bits do not depend on its
batch: nothing here fuses a product with a sum, sums and matrix products are made one picture at a
time, and functions whose vector form has another last bit than their scalar form are kept away.
Each does what torchvision's function of that name does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch

from opsin.data.augment.grey import GREY, grey_weights
from opsin.data.augment.tables import look_up
from opsin.data.augment.workspace import WORKSPACE

Tensors = Mapping[str, torch.Tensor]


def light_and_colour(images: torch.Tensor, values: Tensors) -> torch.Tensor:
    """Brightness, contrast and saturation by their factors, in this order, as one linear map:
    what brightness pushes over the brightest level, contrast can bring back.
    """
    one = torch.ones(1)
    brightness = values.get("brightness", one)
    contrast = values.get("contrast", one)
    scale = brightness * contrast
    offset = None
    if "contrast" in values:
        offset = (1 - contrast) * brightness * _mean_greys(images)
    if "saturation" in values and images.shape[1] == 3:
        images = _mixed_channels(images, scale.expand(len(images), 1, 1, 1), values["saturation"])
    else:
        images.mul_(scale)
    if offset is not None:
        images.add_(offset)
    return images.clamp_(0, 255)


def _mixed_channels(
    images: torch.Tensor, scale: torch.Tensor, saturation: torch.Tensor
) -> torch.Tensor:
    """`scale` x (`saturation` x picture + (1 - `saturation`) x grey)."""
    # A product for each picture, for one over all may add up in another order.
    count, channels, height, width = images.shape
    grey = torch.tensor(GREY).expand(channels, channels)
    maps = scale[:, 0] * ((1 - saturation[:, 0]) * grey + saturation[:, 0] * torch.eye(channels))
    mixed = WORKSPACE.floats("mixed", (count, channels, height * width))
    if mixed.data_ptr() == images.data_ptr():  # a round before this one has left them there
        images = images.clone()
    for number in range(count):
        torch.mm(maps[number], images[number].view(channels, -1), out=mixed[number])
    return mixed.view(images.shape)


def _mean_greys(images: torch.Tensor) -> torch.Tensor:
    """How bright each picture looks, float32 B C H W to B 1 1 1; the mean over other than three
    channels.
    """
    count, channels, height, width = images.shape
    weights = grey_weights(channels)
    found = np.empty(count)
    for number, picture in enumerate(images.numpy()):
        rows = picture.sum(axis=1, dtype=np.float32).astype(np.float64)
        found[number] = (rows.sum(axis=1) * weights).sum() / (height * width)
    return torch.from_numpy(found.astype(np.float32)).view(-1, 1, 1, 1)


def hue(images: torch.Tensor, degrees: torch.Tensor) -> torch.Tensor:
    """Turn hue, of hue, saturation and value (the hexagonal cone), by `degrees`."""
    if images.shape[1] != 3:
        return images
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    divisor = torch.where(chroma == 0, torch.ones(()), chroma)
    sixth = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    sixth += degrees[:, 0] / 60
    for channel, start in enumerate((5, 3, 1)):
        k = torch.remainder(sixth + start, 6)
        k = torch.minimum(k, 4 - k).clamp_(0, 1)
        torch.sub(value, k.mul_(chroma), out=images[:, channel])
    return images


def gamma(images: torch.Tensor, powers: torch.Tensor) -> torch.Tensor:
    """255 (x / 255) ** power."""
    pixels = images.div_(255).numpy()
    for picture, power in zip(pixels, powers.flatten().tolist(), strict=True):
        np.power(picture, np.float32(power), out=picture)
    return images.mul_(255)


def autocontrast(images: torch.Tensor, on: torch.Tensor) -> torch.Tensor:
    """Each channel stretched to reach from 0 to 255; one of a single level stays."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = high == low
    scale = 255 / torch.where(flat, torch.full((), 255.0), high - low)
    return images.sub_(torch.where(flat, torch.zeros(()), low)).mul_(scale).clamp_(0, 255)


def equalize(images: torch.Tensor, on: torch.Tensor) -> torch.Tensor:
    """Each channel's levels, rounded, so that all are equally common, as Pillow does it."""
    pixels = images.round_().numpy()
    for picture in pixels:
        rounded = picture.astype(np.uint8)
        look_up(rounded, {"equalize": 1.0})
        picture[:] = rounded
    return images


def posterize(images: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """The first `bits` of each level, rounded before."""
    step = torch.exp2(8 - bits)
    return images.round_().div_(step).floor_().mul_(step)


def solarize(images: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    """Levels from `first` on turned over, rounded before."""
    turned = (images.round_() >= first).to(torch.float32)
    return images.add_(turned.mul_(255 - 2 * images))


def sharpness(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Away from (above 1) or towards a picture smoothed by a 3 x 3 kernel; the border stays."""
    height, width = images.shape[-2:]
    if height <= 2 or width <= 2:
        return images
    inner = images[..., 1:-1, 1:-1]
    rows = images[..., :-2, :] + images[..., 1:-1, :]
    rows += images[..., 2:, :]
    smooth = rows[..., :-2] + rows[..., 1:-1]
    smooth += rows[..., 2:]
    smooth += inner * 4
    smooth.mul_(1 / 13).mul_(1 - factors)
    inner.mul_(factors).add_(smooth)
    return images.clamp_(0, 255)


def blur(images: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """Gaussian, to three sigmas; outside is what a mirror at the border pixels would show."""
    for axis in (-1, -2):
        images = _blurred_along(images, [float(sigma) for sigma in sigmas.flatten()], axis)
    return images


def noise(images: torch.Tensor, deviations: torch.Tensor, seeds: list[int]) -> torch.Tensor:
    """Gaussian noise of `deviations` levels, drawn for each picture from its own seed."""
    added = torch.empty_like(images)
    generator = torch.Generator()
    for picture, seed in zip(added, seeds, strict=True):
        picture.normal_(generator=generator.manual_seed(seed))
    return images.add_(added.mul_(deviations)).clamp_(0, 255)


def _blurred_along(images: torch.Tensor, sigmas: list[float], axis: int) -> torch.Tensor:
    side = images.shape[axis]
    reach = math.ceil(3 * max(sigmas))
    weights = torch.tensor([_gaussian(sigma, reach) for sigma in sigmas])
    period = max(1, 2 * (side - 1))
    places = torch.arange(-reach, side + reach).remainder(period)
    places = torch.minimum(places, period - places) if side > 1 else torch.zeros_like(places)
    wide = images.index_select(axis, places)
    total = images * weights[:, 0].view(-1, 1, 1, 1)
    for step in range(1, reach + 1):
        pair = wide.narrow(axis, reach - step, side) + wide.narrow(axis, reach + step, side)
        total += pair.mul_(weights[:, step].view(-1, 1, 1, 1))
    return total


def _gaussian(sigma: float, reach: int) -> list[float]:
    """Weights at 0, 1 ... `reach` px; beyond this sigma's own reach they are nothing, so that the
    result does not depend on how far others of the batch reach.
    """
    own = math.ceil(3 * sigma)
    weights = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(own + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    return [weight / total for weight in weights] + [0.0] * (reach - own)


Kernel = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

KERNELS: dict[str, Kernel] = {
    "hue": hue,
    "gamma": gamma,
    "autocontrast": autocontrast,
    "equalize": equalize,
    "posterize": posterize,
    "solarize": solarize,
    "sharpness": sharpness,
    "blur": blur,
}
"""Those that need nothing but their parameter, by the names of `NEUTRAL`."""
