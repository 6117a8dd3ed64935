"""Adaptive merging: two modes, one weight; and the tokenizer before it."""

from __future__ import annotations

import torch
from torch.nn import functional

from backend.models.layers.merging import AdaptiveMerging, neighbours
from backend.models.layers.tokenizer import Tokenizer


def test_off_is_on_for_four_equal_neighbours_over_four() -> None:
    merging = AdaptiveMerging(6)
    tokens = torch.randn(2, 5, 3, 6)
    copies = tokens.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    torch.testing.assert_close(merging.reduce(tokens, merge=False), merging.reduce(copies, merge=True) / 4)


def test_both_modes_train_the_same_weight() -> None:
    merging = AdaptiveMerging(4)
    merging.reduce(torch.randn(1, 4, 4, 4), merge=False).square().sum().backward()
    gradient = merging.reduction.weight.grad
    assert gradient is not None and gradient.abs().sum() > 0
    blocks = gradient.view(8, 4, 4)
    torch.testing.assert_close(blocks, blocks[:, :1].expand(8, 4, 4))  # every position block alike


def test_neighbours_stand_row_by_row_and_zeros_fill_odd_sides() -> None:
    tokens = torch.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    expected = [[[1, 2, 4, 5], [3, 0, 6, 0]], [[7, 8, 0, 0], [9, 0, 0, 0]]]
    assert neighbours(tokens).tolist() == [expected]


def test_shapes() -> None:
    merging = AdaptiveMerging(4)
    assert merging(torch.randn(2, 5, 8, 4), merge=True).shape == (2, 3, 4, 8)
    assert merging(torch.randn(2, 5, 8, 4), merge=False).shape == (2, 5, 8, 8)


def test_a_token_is_a_linear_map_of_its_patch() -> None:
    tokenizer = Tokenizer(3, 8)
    image = torch.randn(1, 3, 8, 12)
    patch = image[0, :, 4:8, 8:12].reshape(-1)
    linear = tokenizer.projection.weight.reshape(8, -1) @ patch + tokenizer.projection.bias
    torch.testing.assert_close(tokenizer(image)[0, 1, 2], functional.layer_norm(linear, (8,)))


def test_zeros_fill_up_patches() -> None:
    tokenizer = Tokenizer(2, 4)
    image = torch.randn(1, 2, 7, 9)
    assert tokenizer(image).shape == (1, 2, 3, 4)
    torch.testing.assert_close(tokenizer(image), tokenizer(functional.pad(image, (0, 3, 0, 1))))
