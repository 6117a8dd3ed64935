"""Rotated boxes as horizontal boxes with two offsets: the midpoint offset code of oriented region proposals.

A parallelogram inside its enclosing box (x, y, w, h) is given by how far its top vertex lies from the middle of the
top side, to the right, and how far its right vertex lies from the middle of the right side, downwards; the other two
vertices mirror them (Xie et al. 2021, Oriented R-CNN, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from backend.models.ops import boxes as horizontal
from backend.models.ops import rotated

# If two vertices lie that close to the top side and two that close to the right one, in pixels, the box counts as
# horizontal, so that nearly horizontal boxes have one code and not two. The number is the reference implementation's,
# which however judges the two sides apart and so may give a long box two opposite vertices.
ON_SIDE = 0.1
SMALLEST_DIAGONAL = 1e-6  # pixels; keeps the direction of a diagonal without length finite


def encode(boxes: Tensor, references: Tensor, scales: Sequence[float]) -> Tensor:
    """What a network is to predict so that `decode` turns horizontal references into rotated boxes.

    Args:
        boxes: N x 5 whose enclosing boxes have area.
        references: N x 4 (x1, y1, x2, y2) with area.
        scales: six divisors.

    Returns:
        N x 6: the code of the enclosing box as in `boxes.encode`, offset of the top vertex over the width, offset of
        the right vertex over the height (Xie et al. 2021, equations 1 and 3).
    """
    outer, points = rotated.enclosing(boxes), rotated.corners(boxes)
    centre, sides = (outer[:, :2] + outer[:, 2:]) / 2, outer[:, 2:] - outer[:, :2]
    top = _top_vertex(points)
    right = (top + 1) % 4  # corners are clockwise on the screen
    vertices = torch.stack([points[..., 0].gather(1, top), points[..., 1].gather(1, right)], dim=2)[:, 0]
    offsets = (vertices - centre) / sides
    plain = horizontal.encode(outer, references, scales[:4])
    return torch.cat([plain, offsets / boxes.new_tensor(scales[4:])], dim=1)


def decode(codes: Tensor, references: Tensor, scales: Sequence[float]) -> Tensor:
    """N x 6 codes and N x 4 references -> N x 5 rotated boxes in the long-edge convention."""
    outer = horizontal.to_centres(horizontal.decode(codes[:, :4], references, scales[:4]))
    share = (codes[:, 4:] * codes.new_tensor(scales[4:])).clamp(-0.5, 0.5)  # vertices stay on the sides
    offsets, half = share * outer[:, 2:], outer[:, 2:] / 2
    top = torch.stack([offsets[:, 0], -half[:, 1]], dim=1)
    right = torch.stack([half[:, 0], offsets[:, 1]], dim=1)
    return rectangle(outer[:, :2], top, right)


def _top_vertex(points: Tensor) -> Tensor:
    """Which corner is the top one, N x 4 x 2 -> N x 1 indexes; for horizontal boxes the right one of the upper two."""
    x, y = points.unbind(-1)
    rise = y.topk(2, dim=1, largest=False).values.diff(dim=1)
    run = -x.topk(2, dim=1).values.diff(dim=1)
    slack = torch.where(torch.maximum(rise, run) <= ON_SIDE, ON_SIDE, 0.0)
    return x.masked_fill(y - y.amin(dim=1, keepdim=True) > slack, -torch.inf).argmax(dim=1, keepdim=True)


def rectangle(centre: Tensor, top: Tensor, right: Tensor) -> Tensor:
    """The rectangle of a parallelogram: its shorter diagonal is stretched to the longer one (section 3.1).

    Args:
        centre: N x 2.
        top, right: N x 2 from the centre to two neighbouring vertices.

    Returns:
        N x 5 in the long-edge convention.
    """
    lengths = [vector.norm(dim=1, keepdim=True).clamp(min=SMALLEST_DIAGONAL) for vector in (top, right)]
    longest = torch.maximum(*lengths)
    top, right = (vector * (longest / length) for vector, length in zip((top, right), lengths, strict=True))
    return rotated.from_corners(torch.stack([centre + top, centre + right, centre - top, centre - right], dim=1))
