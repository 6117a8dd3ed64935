"""Rotated boxes: overlap against polygons of shapely, conventions, codes."""

from __future__ import annotations

import math

import pytest
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon
from torch import Tensor

from backend.models.ops import boxes, midpoint_offsets, rotated

QUARTER = math.pi / 2
# Angles at the borders of the convention and just beside them, and anything between.
ANGLES = st.one_of(
    st.sampled_from([-QUARTER, QUARTER, -QUARTER + 1e-6, QUARTER - 1e-6, 0.0, 1e-6, math.pi / 4, -math.pi / 4]),
    st.floats(-10, 10, width=32),
)
# Whole numbers make touching, nested and identical boxes common.
PLACES = st.one_of(st.integers(-6, 6), st.floats(-6, 6, width=32))
SIDES = st.one_of(st.integers(0, 8), st.floats(0, 8, width=32))
SIZEABLE = st.one_of(st.integers(1, 30), st.floats(1, 30, width=32))


@st.composite
def some_boxes(draw: st.DrawFn, sides: st.SearchStrategy[float] = SIDES, least: int = 0) -> Tensor:
    rows = draw(st.lists(st.tuples(PLACES, PLACES, sides, sides, ANGLES), min_size=least, max_size=5))
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)


def polygon(box: Tensor) -> Polygon:
    """The box by school geometry, in double precision."""
    x, y, width, height, angle = (float(number) for number in box)
    found = []
    for right, down in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        u, v = right * width / 2, down * height / 2
        found.append((x + u * math.cos(angle) - v * math.sin(angle), y + u * math.sin(angle) + v * math.cos(angle)))
    return Polygon(found)


def shared_area(one: Polygon, other: Polygon) -> float:
    """Corners are rounded to 1e-8 first: of sides that all but coincide, GEOS may find no area at all otherwise."""
    return float(shapely.intersection(one, other, grid_size=1e-8).area)


def overlap(one: Polygon, other: Polygon) -> float:
    shared = shared_area(one, other) if one.area and other.area else 0.0
    union = one.area + other.area - shared
    return shared / union if union else 0.0


@given(some_boxes(), some_boxes())
@settings(max_examples=150, deadline=None)
def test_intersections_are_those_of_polygons(first: Tensor, second: Tensor) -> None:
    """Square pixels, since a ratio of two tiny areas says little."""
    pairs = [(one, other) for one in first for other in second]
    if not pairs:
        return
    found = rotated.intersections(*(torch.stack(side) for side in zip(*pairs, strict=True)))
    for area, (one, other) in zip(found, pairs, strict=True):
        flat = min(float(one[2:4].min()), float(other[2:4].min())) == 0
        expected = 0.0 if flat else shared_area(polygon(one), polygon(other))
        assert float(area) == pytest.approx(expected, abs=2e-4)


@given(some_boxes(SIZEABLE, 1), some_boxes(SIZEABLE, 1))
@settings(max_examples=80, deadline=None)
def test_overlaps_are_those_of_polygons(first: Tensor, second: Tensor) -> None:
    found = rotated.overlaps(first, second)
    for i, one in enumerate(map(polygon, first)):
        for j, other in enumerate(map(polygon, second)):
            assert float(found[i, j]) == pytest.approx(overlap(one, other), abs=2e-4)


@given(some_boxes(SIZEABLE, 1))
@settings(max_examples=50, deadline=None)
def test_other_descriptions_of_a_box_are_the_same_box(some: Tensor) -> None:
    x, y, width, height, angle = some.unbind(1)
    turned = torch.stack([x, y, height, width, angle + QUARTER], dim=1)
    for same in (some, turned, rotated.long_edge(some), rotated.from_corners(rotated.corners(some))):
        assert torch.allclose(rotated.overlaps(some, same).diagonal(), torch.ones(len(some)), atol=1e-4)


def test_special_pairs() -> None:
    unit = [0.0, 0, 2, 2, 0]
    octagon = 8 * (math.sqrt(2) - 1)  # area of the regular one around the unit circle
    cases = {
        "identical": ([0.0, 0, 2, 2, 0], 1.0),
        "turned by a quarter": ([0.0, 0, 2, 2, QUARTER], 1.0),
        "touching at a side": ([2.0, 0, 2, 2, 0], 0.0),
        "touching at a corner": ([2.0, 2, 2, 2, 0], 0.0),
        "nested": ([0.0, 0, 1, 1, 0.3], 0.25),
        "octagon": ([0.0, 0, 2, 2, math.pi / 4], octagon / (8 - octagon)),
        "without height": ([0.0, 0, 2, 0, 0.5], 0.0),
        "a point": ([0.0, 0, 0, 0, 0], 0.0),
        "far away": ([1e4, 0, 2, 2, 0.1], 0.0),
    }
    found = rotated.overlaps(torch.tensor([unit]), torch.tensor([box for box, _ in cases.values()]))[0]
    expected = {name: value for name, (_, value) in cases.items()}
    assert dict(zip(cases, found.tolist(), strict=True)) == pytest.approx(expected, abs=1e-6)


def test_precision_far_from_the_origin_and_for_long_boxes() -> None:
    """A bridge of 400 x 4 px in the corner of a large scene, shifted across by one of its four pixels."""
    angle = 0.6
    bridge = torch.tensor([[20000.0, 30000, 400, 4, angle]])
    other = bridge + torch.tensor([[-math.sin(angle), math.cos(angle), 0, 0, 0]])
    assert float(rotated.overlaps(bridge, other)) == pytest.approx(0.6, abs=2e-3)


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_horizontal_boxes_have_their_plain_overlap(seed: int) -> None:
    numbers = torch.rand(20, 4, generator=torch.Generator().manual_seed(seed)) * 20
    some = torch.cat([torch.minimum(numbers[:, :2], numbers[:, 2:]), torch.maximum(numbers[:, :2], numbers[:, 2:])], 1)
    turned = rotated.from_horizontal(some)
    assert torch.allclose(rotated.overlaps(turned, turned), boxes.overlaps(some, some), atol=1e-5)
    assert torch.allclose(rotated.enclosing(turned), some, atol=1e-5)


def test_many_pairs_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = torch.rand(30, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([9, 9, 9, 9, 3.0])
    whole = rotated.overlaps(numbers, numbers)
    monkeypatch.setattr(rotated, "PAIRS_AT_ONCE", 7)
    assert torch.equal(rotated.overlaps(numbers, numbers), whole)


@given(some_boxes(SIZEABLE, 1))
@settings(max_examples=80, deadline=None)
def test_long_edge_convention(some: Tensor) -> None:
    for found in (rotated.long_edge(some), rotated.from_corners(rotated.corners(some))):
        assert bool((found[:, 2] >= found[:, 3]).all())
        assert bool((found[:, 4] > torch.tensor(-QUARTER)).all() and (found[:, 4] <= torch.tensor(QUARTER)).all())


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([0, 0, 4, 2, -QUARTER], [0, 0, 4, 2, QUARTER]),
        ([0, 0, 4, 2, QUARTER], [0, 0, 4, 2, QUARTER]),
        ([0, 0, 2, 4, 0], [0, 0, 4, 2, QUARTER]),
        ([0, 0, 2, 4, QUARTER], [0, 0, 4, 2, 0]),
        ([0, 0, 2, 4, 0.2], [0, 0, 4, 2, 0.2 - QUARTER]),
        ([0, 0, 4, 2, 3.0], [0, 0, 4, 2, 3.0 - math.pi]),
        ([0, 0, 4, 4, -QUARTER], [0, 0, 4, 4, QUARTER]),
    ],
)
def test_borders_of_the_convention(box: list[float], expected: list[float]) -> None:
    assert rotated.long_edge(torch.tensor([box], dtype=torch.float32))[0].tolist() == pytest.approx(expected, abs=1e-6)


@given(some_boxes(SIZEABLE, 1), st.integers(0, 3), st.booleans())
@settings(max_examples=60, deadline=None)
def test_corners_round_trip_from_any_corner_in_any_sense(some: Tensor, first: int, backwards: bool) -> None:
    points = rotated.corners(some).roll(first, dims=1)
    found = rotated.corners(rotated.from_corners(points.flip(1) if backwards else points))
    distances = (found[:, :, None] - points[:, None]).norm(dim=-1)
    assert float(distances.amin(dim=2).max()) < 1e-3 and float(distances.amin(dim=1).max()) < 1e-3


def test_the_angle_is_clockwise_on_the_screen() -> None:
    box = torch.tensor([[0.0, 0, 2, 0, math.pi / 4]])
    assert rotated.corners(box)[0, 1].tolist() == pytest.approx([math.sqrt(0.5)] * 2)


def test_enclosing_box_holds_the_corners_tightly() -> None:
    some = torch.rand(20, 5, generator=torch.Generator().manual_seed(4)) * 5
    points = rotated.corners(some)
    assert torch.allclose(rotated.enclosing(some), torch.cat([points.amin(1), points.amax(1)], dim=1), atol=1e-5)


SCALES = (0.1, 0.1, 0.2, 0.2, 0.1)


@given(some_boxes(SIZEABLE, 1), some_boxes(SIZEABLE, 1))
@settings(max_examples=60, deadline=None)
def test_codes_round_trip(some: Tensor, references: Tensor) -> None:
    count = min(len(some), len(references))
    some, references = some[:count], rotated.long_edge(references[:count])
    codes = rotated.encode(some, references, SCALES)
    assert bool((codes[:, 4].abs() <= math.pi / 4 / 0.1 + 1e-3).all())
    found = rotated.decode(codes, references, SCALES)
    assert torch.allclose(rotated.overlaps(found, some).diagonal(), torch.ones(count), atol=2e-3)


def test_codes_do_not_jump_at_the_border_of_the_convention() -> None:
    reference = torch.tensor([[10.0, 10, 20, 5, QUARTER - 0.01]])
    box = rotated.long_edge(torch.tensor([[10.0, 10, 20, 5, QUARTER + 0.01]]))
    assert float(box[0, 4]) < 0
    assert rotated.encode(box, reference, (1, 1, 1, 1, 1))[0].tolist() == pytest.approx([0, 0, 0, 0, 0.02], abs=1e-5)


def test_a_shift_is_told_in_the_frame_of_the_reference() -> None:
    reference = torch.tensor([[0.0, 0, 10, 2, math.pi / 4]])
    box = torch.tensor([[math.sqrt(0.5), math.sqrt(0.5), 10, 2, math.pi / 4]])
    assert rotated.encode(box, reference, (1, 1, 1, 1, 1))[0].tolist() == pytest.approx([0.1, 0, 0, 0, 0], abs=1e-6)


@given(some_boxes(SIZEABLE, 1))
@settings(max_examples=80, deadline=None)
def test_midpoint_offsets_round_trip(some: Tensor) -> None:
    references = torch.tensor([[-8.0, -8, 8, 8]]).expand(len(some), 4)
    scales = (1, 1, 1, 1, 0.5, 0.5)
    codes = midpoint_offsets.encode(some, references, scales)
    assert bool((codes[:, 4:].abs() <= 1 + 1e-4).all())
    found = midpoint_offsets.decode(codes, references, scales)
    # A vertex within 0.1 px of a side may be taken for its neighbour, which says little for a box of 1 px.
    assert bool((rotated.overlaps(found, some).diagonal() > 0.75).all())


@pytest.mark.parametrize("angle", [0.003, -0.003, 0.046, -0.046, math.pi / 2 - 0.003])
def test_midpoint_offsets_of_long_boxes_that_are_nearly_horizontal(angle: float) -> None:
    """The short side's vertices are within 0.1 px of the enclosing side, the long one's are not."""
    some = torch.tensor([[50.0, 40, 100, 20, angle], [50.0, 40, 3, 1, angle]])
    references = rotated.enclosing(some)
    found = midpoint_offsets.decode(midpoint_offsets.encode(some, references, (1,) * 6), references, (1,) * 6)
    assert bool((rotated.overlaps(found, some).diagonal() > 0.98).all())


def test_midpoint_offsets_of_tilted_boxes_are_exact() -> None:
    generator = torch.Generator().manual_seed(5)
    some = torch.rand(200, 5, generator=generator) * torch.tensor([40, 40, 60, 60, math.pi / 2 - 0.2])
    some = some + torch.tensor([0, 0, 5, 5, 0.1])
    references = torch.tensor([[0.0, 0, 32, 32]]).expand(200, 4)
    found = midpoint_offsets.decode(midpoint_offsets.encode(some, references, (1,) * 6), references, (1,) * 6)
    assert torch.allclose(rotated.overlaps(found, some).diagonal(), torch.ones(200), atol=1e-4)


def test_midpoint_offsets_of_the_publication() -> None:
    """Xie et al. 2021, figure 3: vertices (x + a, y - h/2), (x + w/2, y + b), and their mirror images."""
    box = torch.tensor([[50.0, 40, 20, 10, math.atan2(3, 4)]])
    outer = rotated.enclosing(box)
    assert outer[0].tolist() == pytest.approx([39, 30, 61, 50], abs=1e-4)
    codes = midpoint_offsets.encode(box, outer, (1,) * 6)[0].tolist()
    assert codes == pytest.approx([0, 0, 0, 0, -5 / 22, 2 / 20], abs=1e-5)


def test_horizontal_and_upright_boxes_have_the_same_code() -> None:
    """A box turned a little either way and one not turned at all: the same vertices are meant."""
    some = torch.tensor([[10.0, 10, 20, 8, angle] for angle in (0.0, 1e-3, -1e-3)])
    codes = midpoint_offsets.encode(some, torch.tensor([[0.0, 6, 20, 14]]).expand(3, 4), (1,) * 6)
    assert torch.allclose(codes[:, 4:], torch.full((3, 2), 0.5), atol=0.01)


def test_a_parallelogram_becomes_the_rectangle_of_its_longer_diagonal() -> None:
    found = midpoint_offsets.rectangle(torch.zeros(1, 2), torch.tensor([[0.0, -3]]), torch.tensor([[4.0, 0]]))
    assert found[0].tolist() == pytest.approx([0, 0, math.sqrt(32), math.sqrt(32), float(found[0, 4])])
    assert abs(float(found[0, 4])) == pytest.approx(math.pi / 4)


def test_wild_midpoint_codes_give_finite_boxes() -> None:
    for value in (1000.0, -1000.0, 0.0):
        found = midpoint_offsets.decode(torch.full((1, 6), value), torch.tensor([[0.0, 0, 10, 10]]), (1,) * 6)
        assert bool(found.isfinite().all())
