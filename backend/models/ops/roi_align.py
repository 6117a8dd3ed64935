"""RoIAlign over horizontal and rotated boxes (He et al. 2017, Mask R-CNN, section 3), on bilinear grid sampling.

Horizontal boxes go through torchvision's operator where it is at hand, with the same result.

Pixel centres lie at half numbers (the "aligned" variant of later implementations): a map's cell (r, c) with stride s
has its centre at x = (c + 1/2) s, y = (r + 1/2) s of the image. Up to one cell beyond the outermost centres the border
is continued, farther out everything is zero.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from backend.models.ops.accelerated import operators
from backend.models.ops.rotated import from_horizontal

SIZE = 7  # cells along each side of a pooled box
SAMPLES = 2  # bilinear samples along each side of a cell


def roi_align(features: Tensor, boxes: Tensor, stride: float, size: int = SIZE, samples: int = SAMPLES) -> Tensor:
    """Mean of samples x samples bilinear values in each of size x size equal parts of horizontal boxes.

    Args:
        features: C x H x W of one image.
        boxes: N x 4 (x1, y1, x2, y2) in image pixels.
        stride: image pixels per cell of `features`.
        size: parts along each side.
        samples: values along each side of a part.

    Returns:
        N x C x size x size float32.
    """
    fast = operators()
    if fast is None or not len(boxes):
        return rotated_roi_align(features, from_horizontal(boxes), stride, size, samples)
    found = fast.roi_align(features[None].float(), [boxes.float()], size, 1 / stride, samples, aligned=True)
    return torch.as_tensor(found)


def rotated_roi_align(
    features: Tensor, boxes: Tensor, stride: float, size: int = SIZE, samples: int = SAMPLES
) -> Tensor:
    """As `roi_align` for boxes N x 5 (x, y, width, height, angle); columns of the result follow the width."""
    points = sample_points(boxes.float(), size * samples)
    values = bilinear(features, points / stride - 0.5)
    parts = functional.avg_pool2d(values.flatten(0, 1)[:, None], samples)
    return parts.reshape(len(features), len(boxes), size, size).transpose(0, 1)


def sample_points(boxes: Tensor, count: int) -> Tensor:
    """The centres of count x count equal parts of rotated boxes: N x 5 -> N x count x count x 2 (x, y)."""
    steps = (torch.arange(count, dtype=boxes.dtype, device=boxes.device) + 0.5) / count - 0.5
    along = boxes[:, 2, None, None] * steps[None, None, :]
    across = boxes[:, 3, None, None] * steps[None, :, None]
    cos, sin = boxes[:, 4, None, None].cos(), boxes[:, 4, None, None].sin()
    x = boxes[:, 0, None, None] + along * cos - across * sin
    y = boxes[:, 1, None, None] + along * sin + across * cos
    return torch.stack([x, y], dim=-1)


def bilinear(features: Tensor, points: Tensor) -> Tensor:
    """Values between cells: C x H x W at N x R x S x 2 (column, row) -> C x N x R x S float32.

    Numbers are computed in float32: bfloat16 cannot tell neighbouring cells of a large map apart.
    """
    count, rows, columns, _ = points.shape
    height, width = features.shape[1:]
    extent = points.new_tensor([width, height])
    # grid_sample counts from -1 to 1 over the whole extent of the map.
    grid = ((2 * points + 1) / extent - 1).reshape(1, count * rows, columns, 2)
    values = functional.grid_sample(
        features[None].float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    inside = ((points >= -1) & (points <= extent)).all(dim=-1)
    return values.reshape(len(features), count, rows, columns) * inside
