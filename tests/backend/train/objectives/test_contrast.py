"""The contrastive term, its head and centre, the teacher, and positions that show the same ground."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from backend.models.load import initialise
from backend.train.data.views import View
from backend.train.objectives.contrast import Centre, ContrastHead, contrast, targets, teacher_temperature
from backend.train.objectives.objective import Progress
from backend.train.objectives.positions import cell_centres, inside, sampled, to_crop, to_sample
from backend.train.objectives.teacher import follow, momentum, teacher_of


def test_the_term_is_least_where_both_distributions_are_the_same() -> None:
    """skysense-v2.md, 16.9."""
    torch.manual_seed(0)
    wanted = torch.randn(5, 16).softmax(dim=1)
    logits = (0.1 * wanted.log()).requires_grad_()
    least = contrast(logits, wanted)
    (slope,) = torch.autograd.grad(least, logits)
    assert slope.abs().max() < 1e-6
    entropy = -(wanted * wanted.log()).sum(dim=1).mean()
    torch.testing.assert_close(least, entropy)
    assert all(contrast(logits + 0.1 * torch.randn(5, 16), wanted) > least for _ in range(20))


def test_the_teacher_gives_no_gradient_and_its_centre_is_taken_off() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    found = targets(logits, torch.zeros(4), 0.05)
    assert not found.requires_grad
    torch.testing.assert_close(found.sum(dim=1), torch.ones(3))
    torch.testing.assert_close(targets(logits + 7, torch.full((4,), 7.0), 0.05), found, atol=1e-5, rtol=1e-5)


def test_the_temperature_rises_over_the_first_twentieth() -> None:
    found = [teacher_temperature(Progress(step, 1000)) for step in (0, 25, 50, 900)]
    assert found == pytest.approx([0.04, 0.055, 0.07, 0.07])


def test_the_centre_is_a_running_mean_over_all_processes() -> None:
    centre = Centre(3)
    centre.add(torch.tensor([[[1.0, 2, 3]], [[3.0, 2, 1]]]))
    centre.move(lambda value: 2 * value)  # as if another process had seen the same
    torch.testing.assert_close(centre.centre, torch.full((3,), 0.2))
    centre.move(lambda value: value)
    torch.testing.assert_close(centre.centre, torch.full((3,), 0.2))  # nothing seen, nothing moved


def test_the_head_gives_cosines() -> None:
    with torch.device("meta"):
        empty = ContrastHead(12, 20, hidden=16, bottleneck=8)
    head = initialise(empty, seed=0)
    found = head(torch.randn(2, 5, 12))
    assert found.shape == (2, 5, 20) and found.abs().max() <= 1 + 1e-6
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert head(torch.randn(2, 12)).dtype == torch.float32


def test_a_teacher_follows_and_gets_no_gradient() -> None:
    """skysense-v2.md, 16.8."""
    student = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    teacher = teacher_of(student)
    old = [parameter.clone() for parameter in teacher.parameters()]
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    student(torch.randn(4, 3)).sum().backward()
    follow(teacher, student, 0.9)
    for before, mine, theirs in zip(old, teacher.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(mine, 0.9 * before + 0.1 * theirs)
        assert mine.grad is None and not mine.requires_grad
    assert torch.equal(teacher[1].running_mean, student[1].running_mean)
    assert [momentum(Progress(step, 100)) for step in (0, 100)] == pytest.approx([0.996, 1.0])


def cut(image: torch.Tensor, view: View, size: int) -> torch.Tensor:
    """The crop as it is fed: sampled at the places of its cells, once cut, mirrored and turned as data are."""
    left, top, right, bottom = view.boxes[0].tolist()
    places = cell_centres(size, size)
    x, y = left + places[:, 0] * (right - left), top + places[:, 1] * (bottom - top)
    found = sampled(image[None], torch.stack([x, y], dim=1)[None])[0].T.reshape(-1, size, size)
    found = found.flip(2) if bool(view.flips[0]) else found
    return torch.rot90(found, int(view.turns[0]), dims=(1, 2))


BOX = st.tuples(st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0.6, 1), st.floats(0.6, 1))


@settings(max_examples=40, deadline=None)
@given(BOX, st.booleans(), st.integers(0, 3))
def test_places_of_a_crop_are_those_of_the_ground_whatever_was_turned(
    box: tuple[float, float, float, float], flip: bool, turns: int
) -> None:
    """On an image whose values are its own coordinates, every cell holds the place that is computed for it."""
    view = View(torch.tensor([box]), torch.tensor([flip]), torch.tensor([turns]), {})
    coordinates = cell_centres(64, 64).T.reshape(2, 64, 64)
    crop = cut(coordinates, view, 8)
    places = cell_centres(8, 8)[None]
    ground = to_sample(view, places)
    torch.testing.assert_close(crop.reshape(2, -1).T[None], ground, atol=2e-2, rtol=0)
    torch.testing.assert_close(to_crop(view, ground), places, atol=1e-5, rtol=1e-5)
    assert inside(to_crop(view, ground)).all()


def test_a_teacher_map_is_read_at_the_students_ground() -> None:
    coordinates = cell_centres(64, 64).T.reshape(2, 64, 64)
    student = View(torch.tensor([[0.2, 0.1, 0.7, 0.6]]), torch.tensor([True]), torch.tensor([1]), {})
    teacher = View(torch.tensor([[0.0, 0.0, 0.8, 0.9]]), torch.tensor([False]), torch.tensor([3]), {})
    ground = to_sample(student, cell_centres(8, 8)[None])
    read = sampled(cut(coordinates, teacher, 32)[None], to_crop(teacher, ground))
    torch.testing.assert_close(read, ground, atol=2e-2, rtol=0)


def test_what_lies_outside_a_crop_is_told() -> None:
    view = View(torch.tensor([[0.0, 0.0, 0.5, 0.5]]), torch.tensor([False]), torch.tensor([0]), {})
    places = torch.tensor([[[0.25, 0.25], [0.75, 0.25]]])
    assert inside(to_crop(view, places)).tolist() == [[True, False]]
