"""What is kept between computations, and when it is computed anew."""

from __future__ import annotations

import copy

import torch

from backend.models.layers.positions import PositionTable, SineCosinePositions
from backend.models.layers.swin import PositionBias, log_offsets, offset_index


def test_a_constant_is_made_once() -> None:
    device = torch.device("cpu")
    assert log_offsets(8, 8, device) is log_offsets(8, 8, device)
    assert log_offsets(8, 8, device) is not log_offsets(8, 7, device)


def test_constants_of_inference_mode_serve_training() -> None:
    bias = PositionBias(2)
    with torch.inference_mode():
        offset_index(5, 3, torch.device("cpu"))
        bias((5, 3))
    bias((5, 3)).sum().backward()
    assert bias.fc1.weight.grad is not None


def test_a_resized_table_follows_its_weights() -> None:
    table = PositionTable(4, 4, 8)
    with torch.no_grad():
        before = table(6, 6)
        assert table(6, 6) is before
        table.table.add_(1.0)  # as an optimiser does
        torch.testing.assert_close(table(6, 6), before + 1.0)
    table.load_state_dict({"table": torch.zeros(1, 8, 4, 4)}, assign=True)
    with torch.no_grad():
        assert not table(6, 6).any()
    assert table(6, 6).requires_grad


def test_a_copy_does_not_answer_from_the_original() -> None:
    bias = PositionBias(2)
    with torch.no_grad():
        kept = bias((4, 4))
        other = copy.deepcopy(bias)
        other.fc2.weight.zero_()
        torch.testing.assert_close(other((4, 4)), torch.full_like(kept, 8.0))  # 16 sigmoid(0)
        assert torch.equal(bias((4, 4)), kept)


def test_fixed_positions_mean_the_same_ground_on_any_grid() -> None:
    positions = SineCosinePositions(8, 8, 16)
    fine = positions(8, 8).reshape(8, 8, 16)
    coarse = positions(4, 4).reshape(4, 4, 16)
    # A coarse token lies between two fine ones; bicubic weights of the four nearest are -3, 19, 19, -3 over 32.
    weights = torch.tensor([-3.0, 19.0, 19.0, -3.0]) / 32
    expected = torch.einsum("i,j,ijc->c", weights, weights, fine[1:5, 1:5])
    torch.testing.assert_close(coarse[1, 1], expected, atol=1e-5, rtol=1e-5)
    assert not list(positions.parameters())
