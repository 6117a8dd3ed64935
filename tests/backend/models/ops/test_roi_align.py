"""RoIAlign against the published procedure as plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backend.models.ops.roi_align import roi_align, rotated_roi_align
from backend.models.ops.rotated import from_horizontal


def value(plane: Tensor, x: float, y: float) -> float:
    """Bilinear value as in the reference implementation of Mask R-CNN: zero beyond one cell, before it the border."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    x, y = max(x, 0.0), max(y, 0.0)
    column, row = min(int(x), width - 1), min(int(y), height - 1)
    next_column, next_row = min(column + 1, width - 1), min(row + 1, height - 1)
    right = 0.0 if column == width - 1 else x - column
    down = 0.0 if row == height - 1 else y - row
    upper = float(plane[row, column]) * (1 - right) + float(plane[row, next_column]) * right
    lower = float(plane[next_row, column]) * (1 - right) + float(plane[next_row, next_column]) * right
    return upper * (1 - down) + lower * down


def by_loops(features: Tensor, box: list[float], stride: float, size: int, samples: int) -> Tensor:
    """Box (x, y, width, height, angle)."""
    x, y, width, height, angle = box
    found = torch.zeros(features.shape[0], size, size)
    count = size * samples
    for channel, plane in enumerate(features):
        for row in range(count):
            for column in range(count):
                u, v = ((column + 0.5) / count - 0.5) * width, ((row + 0.5) / count - 0.5) * height
                px = x + u * math.cos(angle) - v * math.sin(angle)
                py = y + u * math.sin(angle) + v * math.cos(angle)
                at = value(plane, px / stride - 0.5, py / stride - 0.5)
                found[channel, row // samples, column // samples] += at / samples**2
    return found


PLACES, SIDES, ANGLES = (st.floats(low, high, width=32) for low, high in ((-10, 50), (0, 40), (-4, 4)))
ROWS = st.lists(st.tuples(PLACES, PLACES, SIDES, SIDES, ANGLES), min_size=1, max_size=3)


@given(ROWS, st.sampled_from([1.0, 4.0, 8.0]))
@settings(max_examples=30, deadline=None)
def test_rotated_boxes_by_loops(rows: list[tuple[float, ...]], stride: float) -> None:
    features = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(0))
    found = rotated_roi_align(features, torch.tensor(rows), stride, 3, 2)
    for pooled, row in zip(found, rows, strict=True):
        expected = by_loops(features, list(row), stride, 3, 2)
        # A sample that lies within rounding of the line beyond which there is zero may fall on either side of it.
        assert ((pooled - expected).abs() > 1e-4).sum() <= _doubtful(list(row), stride)


def _doubtful(box: list[float], stride: float) -> int:
    x, y, width, height, angle = box
    doubtful = 0
    for row in range(6):
        for column in range(6):
            u, v = ((column + 0.5) / 6 - 0.5) * width, ((row + 0.5) / 6 - 0.5) * height
            px = (x + u * math.cos(angle) - v * math.sin(angle)) / stride - 0.5
            py = (y + u * math.sin(angle) + v * math.cos(angle)) / stride - 0.5
            doubtful += min(abs(px + 1), abs(px - 7), abs(py + 1), abs(py - 5)) < 1e-4
    return 2 * doubtful


def test_horizontal_boxes_by_loops() -> None:
    features = torch.rand(2, 9, 8, generator=torch.Generator().manual_seed(1))
    corners = torch.tensor([[3.0, 2, 21, 30], [-6, -5, 9, 9], [30, 30, 45, 50], [5, 5, 5, 5]])
    found = roi_align(features, corners, 4.0)
    assert found.shape == (4, 2, 7, 7)
    for pooled, (x1, y1, x2, y2) in zip(found, corners.tolist(), strict=True):
        box = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, 0.0]
        assert torch.allclose(pooled, by_loops(features, box, 4.0, 7, 2), atol=1e-5)


def test_a_ramp_is_read_at_the_centres_of_the_parts() -> None:
    """Bilinear sampling of a plane is exact; pixel centres lie at half numbers."""
    columns = (torch.arange(20.0) + 0.5).expand(1, 20, 20)
    found = roi_align(columns, torch.tensor([[3.0, 4, 10, 11]]), 1.0)
    assert torch.allclose(found[0, 0], (torch.arange(7) + 3.5).expand(7, 7), atol=1e-5)


def test_turning_the_box_by_a_quarter_turns_the_result() -> None:
    features = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(2))
    box = torch.tensor([[8.0, 7, 9, 6, 0.3], [8.0, 7, 6, 9, 0.3 + math.pi / 2]])
    flat, turned = rotated_roi_align(features, box, 1.0)
    assert torch.allclose(turned, flat.rot90(1, (1, 2)), atol=1e-4)


def test_gradients_reach_the_map() -> None:
    features = torch.rand(1, 8, 8, dtype=torch.float32, requires_grad=True)
    roi_align(features, torch.tensor([[1.0, 1, 6, 6]]), 1.0).sum().backward()
    assert features.grad is not None
    assert float(features.grad.sum()) == pytest.approx(49, rel=1e-5)


def test_no_boxes() -> None:
    assert roi_align(torch.rand(3, 8, 8), torch.empty(0, 4), 4.0).shape == (0, 3, 7, 7)


def test_half_precision_maps_keep_their_positions() -> None:
    """At column 300 bfloat16 numbers are two apart."""
    columns = torch.zeros(1, 4, 400)
    columns[0, :, 300] = 1
    box = torch.tensor([[300.0, 0, 301, 4]])
    found = roi_align(columns.bfloat16(), box, 1.0)
    assert torch.allclose(found, roi_align(columns, box, 1.0)) and float(found.max()) > 0.9


def test_agrees_with_torchvision() -> None:
    try:
        from torchvision.ops import roi_align as reference
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision does not load: {error}")
    generator = torch.Generator().manual_seed(3)
    features, numbers = torch.rand(4, 25, 20, generator=generator), torch.rand(40, 4, generator=generator) * 80
    some = torch.cat([torch.minimum(numbers[:, :2], numbers[:, 2:]), torch.maximum(numbers[:, :2], numbers[:, 2:])], 1)
    expected = reference(features[None], [some], 7, 0.25, 2, aligned=True)
    plain = rotated_roi_align(features, from_horizontal(some), 4.0)
    assert torch.allclose(plain, expected, atol=1e-5)
    assert torch.allclose(roi_align(features, some, 4.0), plain, atol=1e-5)
