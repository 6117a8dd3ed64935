"""Horizontal boxes against their definitions, box by box."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backend.models.ops import boxes

SCALES = (0.1, 0.1, 0.2, 0.2)


@st.composite
def some_boxes(draw: st.DrawFn, most: int = 6) -> Tensor:
    """Boxes with whole corners in 0..12, so that touching, nested, identical and empty ones are common."""
    rows = draw(st.lists(st.tuples(*[st.integers(0, 12)] * 4), max_size=most))
    found = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in rows]
    return torch.tensor(found, dtype=torch.float32).reshape(-1, 4)


def pixels(box: Tensor) -> set[tuple[int, int]]:
    x1, y1, x2, y2 = (int(number) for number in box)
    return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}


@given(some_boxes(), some_boxes())
@settings(max_examples=60, deadline=None)
def test_overlap_counts_pixels(first: Tensor, second: Tensor) -> None:
    found = boxes.overlaps(first, second)
    assert found.shape == (len(first), len(second))
    for i, one in enumerate(map(pixels, first)):
        for j, other in enumerate(map(pixels, second)):
            expected = len(one & other) / len(one | other) if one | other else 0.0
            assert float(found[i, j]) == pytest.approx(expected, abs=1e-6)


@given(some_boxes())
@settings(max_examples=30, deadline=None)
def test_clipping_keeps_the_pixels_of_the_image(some: Tensor) -> None:
    image = pixels(torch.tensor([0, 0, 7, 5]))
    for before, after in zip(some, boxes.clip(some, (5, 7)), strict=True):
        assert pixels(after) == pixels(before) & image


def test_area_of_a_box_turned_inside_out_is_zero() -> None:
    assert boxes.areas(torch.tensor([[0.0, 0, 2, 3], [2, 3, 0, 0]])).tolist() == [6.0, 0.0]


def test_codes_are_those_of_the_publication() -> None:
    """Girshick et al. 2014, appendix C, equations 6 to 9, over the scales."""
    reference, box = torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[6.0, 2, 26, 12]])
    found = boxes.encode(box, reference, SCALES)[0].tolist()
    assert found == pytest.approx([1.1 / 0.1, -0.15 / 0.1, 0.693147 / 0.2, -0.693147 / 0.2], rel=1e-5)


def test_codes_round_trip_also_per_class() -> None:
    generator = torch.Generator().manual_seed(0)
    numbers = torch.rand(2, 50, 4, generator=generator) * 50
    some, references = (boxes.from_centres(part + torch.tensor([0, 0, 1, 1])) for part in numbers)
    codes = boxes.encode(some, references, SCALES)
    assert torch.allclose(boxes.decode(codes, references, SCALES), some, atol=1e-3)
    per_class = boxes.decode(codes[:, None].expand(-1, 3, -1), references[:, None], SCALES)
    assert torch.allclose(per_class, some[:, None].expand(-1, 3, -1), atol=1e-3)


def test_wild_codes_give_finite_boxes() -> None:
    found = boxes.decode(torch.full((1, 4), 1000.0), torch.tensor([[0.0, 0, 10, 10]]), (1, 1, 1, 1))
    assert float(found[0, 2] - found[0, 0]) == pytest.approx(625, rel=1e-4)
