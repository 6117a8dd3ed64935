"""Geo-context prototypes: reading, learning, regions."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from backend.models.encoders.prototypes import GeoContext, balanced, region_of


@pytest.fixture
def context() -> GeoContext:
    torch.manual_seed(0)
    module = GeoContext(8, regions=4, count=6, size=5, momentum=0.9)
    torch.nn.init.normal_(module.prototypes)
    torch.nn.init.normal_(module.down.weight)
    return module


def test_reading_is_attention_over_the_regions_prototypes(context: GeoContext) -> None:
    fused = torch.randn(2, 8, 3, 2)
    result = context(fused, torch.tensor([3, 1]))
    assert result.shape == (2, 16, 3, 2)
    assert torch.equal(result[:, :8], fused)
    known = context.prototypes[1]
    weights = (context.down(fused[1, :, 2, 1]) @ known.T / math.sqrt(5)).softmax(dim=0)
    torch.testing.assert_close(result[1, 8:, 2, 1], context.up(weights @ known))


def test_learning_moves_only_the_regions_that_were_seen(context: GeoContext) -> None:
    before = context.prototypes.clone()
    fused = torch.randn(3, 8, 4, 4)
    context.learn(fused, torch.tensor([2, 0, 2]))
    assert torch.equal(context.prototypes[[1, 3]], before[[1, 3]])
    seen = context.down(fused[[0, 2]].flatten(2).transpose(1, 2)).reshape(-1, 5)
    likeness = torch.cosine_similarity(seen[:, None], before[2][None], dim=2)
    shares = balanced(likeness)
    centres = shares.T @ seen / shares.sum(dim=0)[:, None]
    torch.testing.assert_close(context.prototypes[2], 0.9 * before[2] + 0.1 * centres)
    assert not context.prototypes.requires_grad


def test_a_teacher_reads_what_the_student_learns(context: GeoContext) -> None:
    teacher = copy.deepcopy(context)
    teacher.share(context)
    context.learn(torch.randn(1, 8, 4, 4), torch.tensor([0]))
    assert torch.equal(teacher.known, context.prototypes)
    assert torch.equal(teacher.state_dict()["prototypes"], context.prototypes)


@pytest.mark.parametrize("move", ["dtype", "assign"])
def test_sharing_survives_moves_and_loading(context: GeoContext, move: str) -> None:
    teacher = copy.deepcopy(context)
    teacher.share(context)
    if move == "dtype":
        teacher.to(torch.float64)
    else:
        teacher.load_state_dict(copy.deepcopy(context).state_dict(), assign=True)
    context.learn(torch.randn(1, 8, 4, 4), torch.tensor([0]))
    assert torch.equal(teacher.known, context.prototypes)


def test_assignment_is_balanced() -> None:
    torch.manual_seed(0)
    likeness = torch.rand(60, 5)
    likeness[:, 0] += 0.5  # without balance nearly all would go to the first
    shares = balanced(likeness, temperature=0.5, iterations=20)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(60))
    torch.testing.assert_close(shares.sum(dim=0), torch.full((5,), 12.0), atol=1e-2, rtol=1e-3)
    assert balanced(torch.tensor([[1.0, -1.0], [-1.0, 1.0]])).argmax(dim=1).tolist() == [0, 1]


def test_regions_have_equal_areas() -> None:
    assert region_of(-180, 90) == 0
    assert region_of(179.999, -90) == 4095
    assert region_of(180, 90) == 0
    # The Earth between 30 degrees north and south is half of it: rows 16 to 47 of 64.
    assert region_of(0, 29.999) // 64 == 16
    assert region_of(0, -29.999) // 64 == 47
    assert region_of(0.001, 0.001, side=2) == 1
