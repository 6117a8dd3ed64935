"""Horizontal boxes (x1, y1, x2, y2) in pixels, x to the right and y downwards: overlap, clipping, regression codes.

Coordinates are continuous: a box that covers one pixel has sides of 1. The last dimension of a tensor is the box, any
dimensions may stand before it where the docstring says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Decoded sides are at most 62.5 times the reference's, so that early training cannot overflow; the number is that of
# Detectron (Girshick et al. 2018).
LARGEST_GROWTH = math.log(1000.0 / 16.0)


def areas(boxes: Tensor) -> Tensor:
    """... x 4 -> ..., in square pixels; 0 where a box is turned inside out."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of each pair: N x 4 and M x 4 -> N x M, 0 for boxes without area."""
    intersection = first.new_ones(len(first), len(second))
    for axis in (0, 1):  # one axis at a time: no temporary is larger than the result
        low = torch.maximum(first[:, None, axis], second[None, :, axis])
        high = torch.minimum(first[:, None, axis + 2], second[None, :, axis + 2])
        intersection = intersection * (high - low).clamp(min=0)
    return ratio(intersection, areas(first)[:, None], areas(second)[None])


def ratio(intersection: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union from three areas; 0 where the union has no area."""
    union = first + second - intersection
    return torch.where(union > 0, intersection / union, 0.0)


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut ... x 4 to an image of (height, width) pixels; what lies outside loses its area."""
    height, width = size
    x = boxes[..., 0::2].clamp(0, width)
    y = boxes[..., 1::2].clamp(0, height)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1)


def to_centres(boxes: Tensor) -> Tensor:
    """... x 4 corners (x1, y1, x2, y2) -> ... x 4 (x, y, width, height) with the centre first."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def from_centres(boxes: Tensor) -> Tensor:
    """... x 4 (x, y, width, height) -> ... x 4 corners; the inverse of `to_centres`."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def encode(boxes: Tensor, references: Tensor, scales: Sequence[float]) -> Tensor:
    """What a network is to predict so that `decode` turns `references` into `boxes`: ... x 4 each -> ... x 4.

    ((x - xr) / wr, (y - yr) / hr, log(w / wr), log(h / hr)) / scales (Girshick et al. 2014, appendix C). Both boxes
    have area.
    """
    box, reference = to_centres(boxes), to_centres(references)
    shift = (box[..., :2] - reference[..., :2]) / reference[..., 2:]
    growth = (box[..., 2:] / reference[..., 2:]).log()
    return torch.cat([shift, growth], dim=-1) / boxes.new_tensor(scales)


def decode(codes: Tensor, references: Tensor, scales: Sequence[float]) -> Tensor:
    """The boxes that `encode` described: ... x 4 and ... x 4 -> ... x 4."""
    reference, scaled = to_centres(references), codes * codes.new_tensor(scales)
    centre = reference[..., :2] + scaled[..., :2] * reference[..., 2:]
    sides = reference[..., 2:] * scaled[..., 2:].clamp(max=LARGEST_GROWTH).exp()
    return from_centres(torch.cat([centre, sides], dim=-1))
