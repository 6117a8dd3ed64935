"""Resizing normalised images: exactly as SMARTIES was evaluated, or fast (section 3).

The exact kinds are scikit-image's `resize(order=…, anti_aliasing=True)`: mirrored borders, a Gaussian before
shrinking, a spline, and the result clipped to the range of values of the whole image. All but the clipping is linear
and separable, so an axis is one matrix, made once in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from backend.models.layers.constants import constant
from backend.protocol.errors import ParameterError

CUBIC, LINEAR, FAST = "cubic-antialiased", "linear-antialiased", "bilinear-fast"
KINDS = (CUBIC, LINEAR, FAST)  # cubic: evaluation; linear: evaluation on WHU-RS19; bilinear-fast: torch's own

TRUNCATE = 4.0  # reach of the Gaussian in standard deviations, scipy.ndimage's default


def resize(image: Tensor, height: int, width: int, kind: str = CUBIC) -> Tensor:
    """B x C x H x W -> B x C x height x width, float32; record `kind` with the result.

    Raises:
        ParameterError: the kind is unknown.
    """
    if kind not in KINDS:
        raise ParameterError(f"there is no resizing {kind!r}", f"there is {', '.join(KINDS)}")
    image = image.float()
    if kind == FAST:
        return functional.interpolate(image, size=(height, width), mode="bilinear", antialias=True)
    order = 3 if kind == CUBIC else 1
    rows, columns = axis_matrix(image.shape[2], height, order), axis_matrix(image.shape[3], width, order)
    resized = rows.to(image) @ image @ columns.to(image).T
    low, high = image.flatten(1).amin(1), image.flatten(1).amax(1)
    return torch.clamp(resized, low[:, None, None, None], high[:, None, None, None])


def enlarge(image: Tensor, side: int, kind: str = FAST) -> Tensor:
    """B x C x H x W -> B x C x side x side, H and W at most `side`: `resize`, where nothing needs to be smoothed first.

    Raises:
        ParameterError: the kind is unknown.
    """
    if kind == FAST:  # what torch's smoothing does to an image that grows is nothing, and no graph format has it
        return functional.interpolate(image, size=(side, side), mode="bilinear", align_corners=False)
    return resize(image, side, side, kind)


@constant
def axis_matrix(size: int, target: int, order: int) -> Tensor:
    """The whole resizing of one axis, target x size, float32 on the CPU."""
    filtered = _gaussian(size, max(0.0, (size / target - 1) / 2))
    if order == 3 and size > 1:
        filtered = torch.linalg.solve(_spline_samples(size), filtered)
    return (_interpolation(size, target, order) @ filtered).float()


def _weights(places: Tensor, weights: Tensor, size: int) -> Tensor:
    """Rows x size: in each row the weights at the places, both rows x n, mirrored about the outermost pixel centres."""
    period = max(2 * (size - 1), 1)
    folded = places % period
    folded = torch.minimum(folded, period - folded)
    empty = torch.zeros(places.shape[0], size, dtype=torch.float64, device="cpu")
    return empty.scatter_add(1, folded, weights.expand(places.shape))


def _steps(reach: int) -> Tensor:
    return torch.arange(-reach, reach + 1, device="cpu")


def _gaussian(size: int, sigma: float) -> Tensor:
    """Size x size, sampled Gaussian of sum 1; the identity where sigma is 0."""
    steps = _steps(int(TRUNCATE * sigma + 0.5))
    weights = torch.exp(-0.5 * (steps.double() / sigma) ** 2) if sigma else torch.ones(1, device="cpu").double()
    places = torch.arange(size, device="cpu")[:, None] + steps
    return _weights(places, weights / weights.sum(), size)


def _spline_samples(size: int) -> Tensor:
    """Size x size: values of a cubic B-spline at the pixels from its coefficients; solving gives the coefficients."""
    places = torch.arange(size, device="cpu")[:, None] + _steps(1)
    return _weights(places, _b_spline(_steps(1).double().abs(), 3), size)


def _interpolation(size: int, target: int, order: int) -> Tensor:
    """Target x size: a spline of order 1 or 3 at the centres of the target's pixels."""
    centres = (torch.arange(target, dtype=torch.float64, device="cpu")[:, None] + 0.5) * size / target - 0.5
    places = centres.floor().long() + torch.arange(-(order // 2), order // 2 + 2, device="cpu")
    return _weights(places, _b_spline((centres - places).abs(), order), size)


def _b_spline(distance: Tensor, order: int) -> Tensor:
    """The centred B-spline of order 1 or 3 (Unser 1999)."""
    if order == 1:
        return (1 - distance).clamp(min=0)
    near = 2 / 3 - distance**2 * (2 - distance) / 2
    return torch.where(distance < 1, near, (2 - distance).clamp(min=0) ** 3 / 6)
