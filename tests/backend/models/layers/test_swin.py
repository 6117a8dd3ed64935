"""Swin V2 blocks against a plain computation of their formulas, window by window."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from backend.models.layers.swin import SwinBlock, WindowAttention, log_offsets, windows_of


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def attention(width: int = 64, **arguments: object) -> WindowAttention:
    layer = WindowAttention(width, width // 32, **arguments)  # type: ignore[arg-type]
    for name, parameter in layer.named_parameters():
        if name != "logit_scale":
            torch.nn.init.normal_(parameter, std=0.2)
    return layer


def plain(layer: WindowAttention, tokens: Tensor, seen: Tensor) -> Tensor:
    """Attention of H x W x width among all tokens at once; `seen` N x N tells which pairs meet."""
    rows, columns, width = tokens.shape
    place = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), -1).reshape(-1, 2)
    offset = (place[:, None] - place[None]).float()
    sides = [min(layer.window, rows), min(layer.window, columns)]
    spaced = offset * 8 / torch.tensor([max(side - 1, 1) for side in sides])
    spaced = spaced.sign() * torch.log2(1 + spaced.abs()) / math.log2(8)
    bias = 16 * layer.position.fc2(layer.position.fc1(spaced).relu()).sigmoid().permute(2, 0, 1)
    flat = tokens.reshape(-1, width)
    weights = layer.qkv.weight.reshape(3, width, width)
    parts = [flat @ weight.T for weight in weights]
    queries, keys, values = (
        part.reshape(-1, layer.heads, 32).transpose(0, 1)
        for part in (parts[0] + layer.q_bias, parts[1], parts[2] + layer.v_bias)
    )
    cosine = functional.cosine_similarity(queries[:, :, None], keys[:, None], dim=-1)
    logits = cosine * layer.logit_scale.clamp(max=math.log(100)).exp() + bias
    mixed = logits.masked_fill(~seen, -torch.inf).softmax(-1) @ values
    result: Tensor = layer.proj(mixed.transpose(0, 1).reshape(rows, columns, width))
    return result


def together(rows: int, columns: int, shift: tuple[int, int]) -> Tensor:
    """N x N: pairs of tokens in the same window of 8, when windows start `shift` tokens later (and one before)."""
    row = (torch.arange(rows) - shift[0]).div(8, rounding_mode="floor")
    column = (torch.arange(columns) - shift[1]).div(8, rounding_mode="floor")
    window = (row[:, None] * 100 + column).reshape(-1)
    return window[:, None] == window[None]


@pytest.mark.parametrize(
    ("rows", "columns", "shifted", "shift"),
    [
        (16, 24, False, (0, 0)),
        (16, 24, True, (4, 4)),
        (13, 18, False, (0, 0)),
        (13, 18, True, (4, 4)),
        (9, 9, True, (4, 4)),
        (8, 20, True, (0, 4)),  # a side of one window is not shifted
        (5, 12, True, (0, 4)),  # nor one that is smaller than a window
        (3, 6, True, (0, 0)),
        (1, 1, True, (0, 0)),
    ],
)
def test_windows_equal_the_formula(rows: int, columns: int, shifted: bool, shift: tuple[int, int]) -> None:
    layer = attention(shifted=shifted)
    tokens = torch.randn(2, rows, columns, 64)
    result = layer(tokens)
    for sample in range(2):
        expected = plain(layer, tokens[sample], together(rows, columns, shift))
        torch.testing.assert_close(result[sample], expected, atol=2e-5, rtol=1e-4)


def test_padding_is_seen_only_on_request() -> None:
    tokens = torch.randn(1, 9, 9, 64)
    masked = attention(mask_padding=True)
    unmasked = attention(mask_padding=False)
    unmasked.load_state_dict(masked.state_dict())
    assert not torch.allclose(masked(tokens), unmasked(tokens), atol=1e-3)
    filled = functional.pad(tokens, (0, 0, 0, 7, 0, 7))  # zeros that count as tokens
    torch.testing.assert_close(unmasked(tokens), unmasked(filled)[:, :9, :9])
    whole = torch.randn(1, 16, 16, 64)
    torch.testing.assert_close(masked(whole), unmasked(whole))


def test_the_scale_stops_at_one_hundred() -> None:
    layer = attention()
    tokens = torch.randn(1, 8, 8, 64)
    layer.logit_scale.data.fill_(math.log(100.0))
    highest = layer(tokens)
    layer.logit_scale.data.fill_(9.0)
    torch.testing.assert_close(layer(tokens), highest)


def test_logits_stay_in_float32_under_autocast() -> None:
    layer = attention()
    layer.logit_scale.data.fill_(math.log(100.0))
    tokens = torch.randn(1, 8, 8, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lower = layer(tokens)
    assert lower.dtype == torch.bfloat16
    # Logits of up to 100 rounded to 8 bits would be off by 0.2 and more; only the linear layers are rounded.
    error = (lower.float() - layer(tokens)).abs().mean() / layer(tokens).abs().mean()
    assert error < 0.02


def test_gradients_reach_every_weight() -> None:
    block = SwinBlock(64, 2, shifted=True)
    block.attn = attention(shifted=True)
    torch.nn.init.normal_(block.norm1.weight)
    torch.nn.init.normal_(block.norm2.weight)
    block(torch.randn(1, 10, 10, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in block.parameters())


def test_a_new_block_is_the_identity() -> None:
    block = SwinBlock(64, 2)
    block.reset_parameters()
    tokens = torch.randn(1, 10, 10, 64)
    assert torch.equal(block(tokens), tokens)


def test_offsets_are_log_spaced() -> None:
    offsets = log_offsets(8, 8, torch.device("cpu")).reshape(15, 15, 2)
    assert offsets[7, 7].tolist() == [0.0, 0.0]
    ends = [math.log2(9) / 3, -math.log2(9) / 3]  # offset 7 becomes 8
    torch.testing.assert_close(offsets[14, 0], torch.tensor(ends))
    torch.testing.assert_close(offsets[8, 7], torch.tensor([math.log2(1 + 8 / 7) / 3, 0.0]))


def test_small_maps_are_one_window() -> None:
    windows = windows_of(3, 20, 8, shifted=True)
    assert (windows.size, windows.shift, windows.padding, windows.counts) == ((3, 8), (0, 4), (0, 4), (1, 3))
