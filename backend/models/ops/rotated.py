"""Rotated boxes (x, y, width, height, angle): centre and sides in pixels, y downwards, angle in radians.

The angle leads from the x axis to the side called width, positive towards the y axis (clockwise on the screen). In the
long-edge convention width >= height and the angle lies in (-pi/2, pi/2]; `long_edge` brings any box into it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from backend.models.ops.boxes import LARGEST_GROWTH, ratio

QUARTER = math.pi / 2
PAIRS_AT_ONCE = 1 << 18  # bounds the memory of `overlaps`: about 200 bytes per pair


def wrap(angles: Tensor) -> Tensor:
    """Angles modulo pi in (-pi/2, pi/2]: a box that is turned by half a circle is the same box."""
    wrapped = QUARTER - torch.remainder(QUARTER - angles, math.pi)
    return torch.where(wrapped <= -QUARTER, QUARTER, wrapped)  # the remainder may be rounded up to pi


def long_edge(boxes: Tensor) -> Tensor:
    """The same boxes, ... x 5, in the long-edge convention; a square keeps its angle modulo pi."""
    x, y, width, height, angle = boxes.unbind(-1)
    turned = height > width
    angle = wrap(torch.where(turned, angle + QUARTER, angle))
    return torch.stack([x, y, torch.maximum(width, height), torch.minimum(width, height), angle], dim=-1)


def corners(boxes: Tensor) -> Tensor:
    """... x 5 -> ... x 4 x 2 corners (x, y), clockwise on the screen."""
    along, across = _half_sides(boxes)
    centre = boxes[..., :2]
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return torch.stack([centre + i * along + j * across for i, j in signs], dim=-2)


def from_corners(points: Tensor) -> Tensor:
    """... x 4 x 2 corners of rectangles, in either sense -> ... x 5 in the long-edge convention.

    Of other quadrilaterals, such as hand-drawn ones, opposite sides are averaged.
    """
    first, second, third, fourth = points.unbind(-2)
    one, other = (second - first + third - fourth) / 2, (fourth - first + third - second) / 2
    lengths = torch.stack([one.norm(dim=-1), other.norm(dim=-1)], dim=-1)
    long = torch.where((lengths[..., 1] > lengths[..., 0])[..., None], other, one)
    angle = wrap(torch.atan2(long[..., 1], long[..., 0]))
    sides = lengths.sort(dim=-1, descending=True).values
    return torch.cat([points.mean(dim=-2), sides, angle[..., None]], dim=-1)


def from_horizontal(boxes: Tensor) -> Tensor:
    """... x 4 corners (x1, y1, x2, y2) -> ... x 5 with angle 0, whichever side is the longer one."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low, torch.zeros_like(boxes[..., :1])], dim=-1)


def enclosing(boxes: Tensor) -> Tensor:
    """The smallest horizontal boxes around rotated ones: ... x 5 -> ... x 4 (x1, y1, x2, y2)."""
    along, across = _half_sides(boxes)
    half = along.abs() + across.abs()
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], dim=-1)


def intersections(first: Tensor, second: Tensor) -> Tensor:
    """Area of the intersection of paired boxes, P x 5 and P x 5 -> P, in square pixels.

    In the frame of the second box, clamping both coordinates of the first one's outline to the second's sides moves
    only parts outside of it, and onto its border: the clamped curve encloses the intersection. Its area is the line
    integral of x dy over four straight sides, on each of which y changes within one interval and x is linear between
    at most four points. There is nothing to sort and no tolerance, and the result is continuous: touching, nested,
    identical and flat boxes are no special cases.
    """
    cos, sin = second[:, 4].cos(), second[:, 4].sin()
    shift = corners(torch.cat([first[:, :2] - second[:, :2], first[:, 2:]], dim=1))  # small numbers, little rounding
    x = shift[..., 0] * cos[:, None] + shift[..., 1] * sin[:, None]
    y = shift[..., 1] * cos[:, None] - shift[..., 0] * sin[:, None]
    step_x, step_y = x.roll(-1, dims=1) - x, y.roll(-1, dims=1) - y
    half_width, half_height = second[:, 2:3] / 2, second[:, 3:4] / 2
    start, stop = _crossings(y, step_y, half_height)
    enter, leave = (time.clamp(start, stop) for time in _crossings(x, step_x, half_width))
    times = torch.stack([start, enter, leave, stop], dim=-1)
    clamped = (x[..., None] + times * step_x[..., None]).clamp(-half_width[..., None], half_width[..., None])
    integral = ((clamped[..., 1:] + clamped[..., :-1]) / 2 * times.diff(dim=-1)).sum(dim=-1) * step_y
    return integral.sum(dim=1).clamp(min=0)


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of each pair: N x 5 and M x 5 -> N x M, 0 for boxes without area."""
    first, second = first.float(), second.float()
    area, other = first[:, 2] * first[:, 3], second[:, 2] * second[:, 3]
    reach = _reach(first)[:, None] + _reach(second)[None]
    distance = torch.hypot(first[:, None, 0] - second[None, :, 0], first[:, None, 1] - second[None, :, 1])
    near = (distance <= reach) & (area[:, None] > 0) & (other[None] > 0)
    rows, columns = near.nonzero(as_tuple=True)
    result = torch.zeros_like(distance)
    for row, column in zip(rows.split(PAIRS_AT_ONCE), columns.split(PAIRS_AT_ONCE), strict=True):
        shared = intersections(first[row], second[column])
        shared = torch.minimum(shared, torch.minimum(area[row], other[column]))
        result[row, column] = ratio(shared, area[row], other[column])
    return result


def encode(boxes: Tensor, references: Tensor, scales: Sequence[float]) -> Tensor:
    """What a network is to predict so that `decode` turns `references` into `boxes`: ... x 5 each -> ... x 5.

    Shift along the reference's sides over their lengths, logarithms of the ratios of the sides, and the turn in
    radians, all over `scales` (Ding et al. 2019, RoI Transformer, equation 1). Of the two descriptions of a
    rectangle, with the sides exchanged and a quarter turn between them, the one with the smaller turn is meant: the
    target does not jump where the long-edge convention does.
    """
    reference_x, reference_y, reference_width, reference_height, reference_angle = references.unbind(-1)
    x, y, width, height, angle = boxes.unbind(-1)
    cos, sin = reference_angle.cos(), reference_angle.sin()
    right, down = x - reference_x, y - reference_y
    turn = wrap(angle - reference_angle)
    turned = turn.abs() > QUARTER / 2
    turn = torch.where(turned, wrap(turn + QUARTER), turn)
    width, height = torch.where(turned, height, width), torch.where(turned, width, height)
    codes = [
        (right * cos + down * sin) / reference_width,
        (down * cos - right * sin) / reference_height,
        (width / reference_width).log(),
        (height / reference_height).log(),
        turn,
    ]
    return torch.stack(codes, dim=-1) / boxes.new_tensor(scales)


def decode(codes: Tensor, references: Tensor, scales: Sequence[float]) -> Tensor:
    """The boxes that `encode` described, ... x 5, in the long-edge convention."""
    x, y, width, height, angle = references.unbind(-1)
    along, across, wider, higher, turn = (codes * codes.new_tensor(scales)).unbind(-1)
    along, across, cos, sin = along * width, across * height, angle.cos(), angle.sin()
    decoded = [
        x + along * cos - across * sin,
        y + along * sin + across * cos,
        width * wider.clamp(max=LARGEST_GROWTH).exp(),
        height * higher.clamp(max=LARGEST_GROWTH).exp(),
        angle + turn,
    ]
    return long_edge(torch.stack(decoded, dim=-1))


def _half_sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors from the centre to the middle of two sides: ... x 5 -> two of ... x 2."""
    cos, sin = boxes[..., 4].cos(), boxes[..., 4].sin()
    along = torch.stack([cos, sin], dim=-1) * boxes[..., 2:3] / 2
    across = torch.stack([-sin, cos], dim=-1) * boxes[..., 3:4] / 2
    return along, across


def _reach(boxes: Tensor) -> Tensor:
    """Distance from the centre to the corners, N."""
    return boxes[:, 2:4].norm(dim=1) / 2


def _crossings(start: Tensor, step: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Within [0, 1], the times between which start + time * step lies in [-half, half]; any equal ones if never.

    Where nothing moves the times do not matter, since they only divide what is constant: 0 and 1.
    """
    moves = step != 0
    safe = torch.where(moves, step, 1.0)
    one, other = (-half - start) / safe, (half - start) / safe
    early = torch.where(moves, torch.minimum(one, other), 0.0).clamp(0, 1)
    late = torch.where(moves, torch.maximum(one, other), 1.0).clamp(0, 1)
    return early, late
