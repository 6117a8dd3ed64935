"""Non-maximum suppression against the greedy definition as plain loops, and against torchvision where it loads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backend.models.ops import boxes, nms, rotated


def greedy(overlaps: Tensor, scores: list[float], threshold: float) -> list[int]:
    """The definition: take the best box left, drop what overlaps it."""
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    kept: list[int] = []
    for index in order:
        if all(float(overlaps[other, index]) <= threshold for other in kept):
            kept.append(index)
    return kept


def clustered(count: int, seed: int, extent: float = 60.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(count, 2, generator=generator) * extent
    return boxes.from_centres(torch.cat([centres, 5 + 10 * torch.rand(count, 2, generator=generator)], dim=1))


@given(st.integers(0, 700), st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 0.5, 0.7, 1.0]), st.integers(1, 50))
@settings(max_examples=25, deadline=None)
def test_keeps_what_the_definition_keeps(count: int, seed: int, threshold: float, levels: int) -> None:
    """Scores have few levels, so ties are common; more boxes than a block."""
    some = clustered(count, seed)
    scores = torch.randint(levels, (count,), generator=torch.Generator().manual_seed(seed + 1)) / levels
    expected = greedy(boxes.overlaps(some, some), scores.tolist(), threshold)
    assert nms.suppress(some, scores, threshold, boxes.overlaps).tolist() == expected
    assert nms.suppress(some, scores, threshold, boxes.overlaps, limit=5).tolist() == expected[:5]


@given(st.integers(0, 120), st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_groups_do_not_see_each_other(count: int, seed: int) -> None:
    some, generator = clustered(count, seed, 20.0), torch.Generator().manual_seed(seed)
    scores = torch.randint(5, (count,), generator=generator) / 5
    groups = torch.randint(3, (count,), generator=generator)
    apart = boxes.overlaps(some, some) * (groups[:, None] == groups[None])
    found = nms.suppress_by_group(some, scores, groups, 0.3, boxes.overlaps)
    assert found.tolist() == greedy(apart, scores.tolist(), 0.3)
    assert nms.suppress_by_group(some, scores, groups, 0.3, boxes.overlaps, limit=4).tolist() == found[:4].tolist()


def test_a_chain_keeps_every_other_box() -> None:
    """Each box overlaps its neighbours only: as many rounds as there can be."""
    start = torch.arange(600.0)[:, None]
    some = torch.cat([start, torch.zeros_like(start), start + 1.5, torch.ones_like(start)], dim=1)
    found = nms.suppress(some, -start[:, 0], 0.1, boxes.overlaps)
    assert found.tolist() == list(range(0, 600, 2))


def test_equal_boxes_and_scores_keep_the_first() -> None:
    some = torch.tensor([[0.0, 0, 4, 4]] * 5)
    assert nms.suppress(some, torch.ones(5), 0.5, boxes.overlaps).tolist() == [0]


def test_an_overlap_at_the_threshold_stays() -> None:
    some = torch.tensor([[0.0, 0, 3, 1], [1.0, 0, 4, 1]])  # 2 of 4
    scores = torch.tensor([0.1, 0.9])
    assert nms.suppress(some, scores, 0.5, boxes.overlaps).tolist() == [1, 0]
    assert nms.suppress(some, scores, 0.499, boxes.overlaps).tolist() == [1]


def test_nothing_in_nothing_out() -> None:
    assert nms.suppress(torch.empty(0, 4), torch.empty(0), 0.5, boxes.overlaps).tolist() == []
    empty = torch.empty(0, dtype=torch.int64)
    assert nms.suppress_by_group(torch.empty(0, 5), torch.empty(0), empty, 0.1, rotated.overlaps).tolist() == []


@given(st.integers(1, 40), st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_rotated_boxes(count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    some = torch.rand(count, 5, generator=generator) * torch.tensor([30, 30, 20, 5, 3.0])
    some = some + torch.tensor([0, 0, 5, 1, -1.5])
    scores = torch.randint(6, (count,), generator=generator) / 6
    found = nms.suppress(some, scores, 0.1, rotated.overlaps)
    assert found.tolist() == greedy(rotated.overlaps(some, some), scores.tolist(), 0.1)


def test_neighbours_side_by_side_survive_rotated_suppression_only() -> None:
    """Two parallel ships at 45 degrees: their enclosing boxes overlap, they do not."""
    ships = torch.tensor([[20.0, 20, 30, 4, 0.7854], [24.0, 16, 30, 4, 0.7854]])
    scores = torch.tensor([0.9, 0.8])
    assert nms.suppress(ships, scores, 0.1, rotated.overlaps).tolist() == [0, 1]
    assert nms.suppress(rotated.enclosing(ships), scores, 0.5, boxes.overlaps).tolist() == [0]


def test_agrees_with_torchvision() -> None:
    try:
        from torchvision.ops import nms as reference
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision does not load: {error}")
    some, scores = clustered(2000, 1, 200.0), torch.rand(2000, generator=torch.Generator().manual_seed(2))
    order = scores.argsort(descending=True, stable=True)
    for threshold in (0.1, 0.5, 0.7):
        plain = nms._suppress(some, order, threshold, boxes.overlaps, None)
        assert torch.equal(plain, reference(some, scores, threshold))
        assert torch.equal(nms.suppress(some, scores, threshold, boxes.overlaps), plain)
