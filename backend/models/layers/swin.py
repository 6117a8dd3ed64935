"""Swin V2 blocks (Liu et al. 2022; skysense-v2.md, 3.2): cosine attention in shifted windows, norms after branches."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.models.layers.constants import Memory, constant
from backend.models.layers.experts import Routing, feed_forward
from backend.models.layers.initial import truncated_normal
from backend.models.layers.precision import full_precision
from backend.models.layers.transformer import DropPath, Mlp

BLOCKED = -100.0  # added to the logits of keys that must not be seen (Swin)
HIGHEST_SCALE = math.log(100.0)  # of the logarithm of the logits' scale (Swin V2)


class Windows(NamedTuple):
    """How a map of rows x columns is cut: window size, shift and padding (below, right) per axis, in tokens."""

    rows: int
    columns: int
    size: tuple[int, int]
    shift: tuple[int, int]
    padding: tuple[int, int]

    @property
    def counts(self) -> tuple[int, int]:
        """Windows per axis."""
        return (self.rows + self.padding[0]) // self.size[0], (self.columns + self.padding[1]) // self.size[1]


def windows_of(rows: int, columns: int, window: int, shifted: bool) -> Windows:
    """Windows of a map; a side of at most `window` tokens is one window and not shifted."""
    size = (min(window, rows), min(window, columns))
    shift = tuple(window // 2 if shifted and side > window else 0 for side in (rows, columns))
    return Windows(rows, columns, size, (shift[0], shift[1]), (-rows % size[0], -columns % size[1]))


class PositionBias(nn.Module):
    """Log-spaced continuous position bias: a small network from the offset of two tokens to a bias per head."""

    def __init__(self, heads: int, hidden: int = 512) -> None:
        super().__init__()
        self.fc1 = nn.Linear(2, hidden)
        self.fc2 = nn.Linear(hidden, heads, bias=False)
        self._memory = Memory()

    def forward(self, size: tuple[int, int]) -> Tensor:
        """Heads x N x N, float32, for the N = rows * columns tokens of a window; kept where no gradient is wanted."""
        weights = [self.fc1.weight, self.fc1.bias, self.fc2.weight]
        return self._memory.recall(size, weights, lambda: self._computed(*size))

    def _computed(self, rows: int, columns: int) -> Tensor:
        device = self.fc1.weight.device
        with full_precision(device):
            hidden = functional.linear(
                log_offsets(rows, columns, device), self.fc1.weight.float(), self.fc1.bias.float()
            ).relu()
            biases = 16.0 * functional.linear(hidden, self.fc2.weight.float()).sigmoid()
        count = rows * columns
        return biases[offset_index(rows, columns, device)].reshape(count, count, -1).permute(2, 0, 1)


class WindowAttention(nn.Module):
    """Cosine attention within windows; logits, position bias and softmax in float32.

    Args:
        width: numbers per token.
        heads: attention heads.
        window: largest side of a window in tokens.
        shifted: whether the windows are moved by half a window.
        mask_padding: whether the zeros that fill up the last windows are kept from being seen.
    """

    def __init__(
        self, width: int, heads: int, window: int = 8, shifted: bool = False, mask_padding: bool = True
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"a width of {width} cannot be split into {heads} heads")
        self.heads, self.window, self.shifted, self.mask_padding = heads, window, shifted, mask_padding
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.empty(width))
        self.v_bias = nn.Parameter(torch.empty(width))
        self.logit_scale = nn.Parameter(torch.empty(heads, 1, 1))
        self.position = PositionBias(heads)
        self.proj = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 10, biases 0 (Swin V2)."""
        nn.init.zeros_(self.q_bias)
        nn.init.zeros_(self.v_bias)
        nn.init.constant_(self.logit_scale, math.log(10.0))

    def forward(self, tokens: Tensor) -> Tensor:
        """B x H x W x width -> B x H x W x width."""
        windows = windows_of(tokens.shape[1], tokens.shape[2], self.window, self.shifted)
        result: Tensor = self.proj(self._uncut(self._attend(self._padded(tokens, windows), windows), windows))
        return result

    def _padded(self, tokens: Tensor, windows: Windows) -> Tensor:
        if any(windows.padding):
            tokens = functional.pad(tokens, (0, 0, 0, windows.padding[1], 0, windows.padding[0]))
        if any(windows.shift):
            tokens = tokens.roll((-windows.shift[0], -windows.shift[1]), dims=(1, 2))
        return tokens

    def _attend(self, tokens: Tensor, windows: Windows) -> Tensor:
        """B x H' x W' x width, padded and rolled -> the same shape, before the projection."""
        batch, rows, columns, width = tokens.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        qkv = functional.linear(tokens, self.qkv.weight, bias)
        queries, keys, values = qkv.reshape(batch, rows, columns, 3, self.heads, -1).unbind(3)
        added = self._added(windows, tokens.device)
        with full_precision(tokens.device):
            scale = self.logit_scale.float().clamp(max=HIGHEST_SCALE).exp()[..., 0]
            queries = functional.normalize(queries.float(), dim=-1) * scale
            keys = functional.normalize(keys.float(), dim=-1)
            apart = len(added) // self.heads  # windows that need a mask of their own stand beside the heads
            queries, keys, values = (_cut(part, windows, apart) for part in (queries, keys, values.float()))
            mixed = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=added[None], scale=1.0)
        (down, across), size = windows.counts, windows.size
        mixed = mixed.reshape(batch, down, across, self.heads, *size, width // self.heads)
        # One copy in any case, said aloud: a single window could be a view, but not with every kernel that is exported.
        mixed = mixed.permute(0, 1, 4, 2, 5, 3, 6).clone(memory_format=torch.contiguous_format)
        return mixed.view(tokens.shape).to(qkv.dtype)

    def _added(self, windows: Windows, device: torch.device) -> Tensor:
        """What is added to the logits: heads x N x N, or (windows * heads) x N x N where windows differ."""
        bias: Tensor = self.position(windows.size)
        padded = self.mask_padding and any(windows.padding)
        if not padded and not any(windows.shift):
            return bias
        mask = window_mask(windows, padded, device)
        return (mask[:, None] + bias).flatten(0, 1)

    def _uncut(self, tokens: Tensor, windows: Windows) -> Tensor:
        if any(windows.shift):
            tokens = tokens.roll(windows.shift, dims=(1, 2))
        return tokens[:, : windows.rows, : windows.columns]


class SwinBlock(nn.Module):
    """x <- x + norm1(attention(x)); x <- x + norm2(mlp(x)), over maps B x H x W x width.

    Args:
        width: numbers per token.
        heads: attention heads.
        window: largest side of a window in tokens.
        shifted: whether the windows are moved by half a window: every second block.
        mask_padding: whether the zeros that fill up the last windows are kept from being seen.
        ratio: hidden width of the MLP over `width`.
        drop_path: rate of stochastic depth of both branches.
        mlp: takes the place of the MLP, such as a mixture of experts.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        window: int = 8,
        shifted: bool = False,
        mask_padding: bool = True,
        ratio: float = 4.0,
        drop_path: float = 0.0,
        mlp: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.attn = WindowAttention(width, heads, window, shifted, mask_padding)
        self.norm1 = nn.LayerNorm(width)
        self.mlp = mlp if mlp is not None else Mlp(width, int(width * ratio))
        self.norm2 = nn.LayerNorm(width)
        self.drop_path = DropPath(drop_path)

    def reset_parameters(self) -> None:
        """Linear layers: truncated normal, std 0.02. Norms: zero, so the block starts as the identity (Swin V2)."""
        truncated_normal(self)
        for norm in (self.norm1, self.norm2):
            nn.init.zeros_(norm.weight)
            nn.init.zeros_(norm.bias)

    def forward(self, tokens: Tensor, routing: list[Routing] | None = None) -> Tensor:
        """B x H x W x width -> B x H x W x width; `routing` as in `Experts`."""
        tokens = tokens + self.drop_path(self.norm1(self.attn(tokens)))
        result: Tensor = tokens + self.drop_path(self.norm2(feed_forward(self.mlp, tokens, routing)))
        return result


def _cut(part: Tensor, windows: Windows, apart: int) -> Tensor:
    """B x H' x W' x heads x d -> (B * windows / apart) x (apart * heads) x N x d.

    With `apart` windows beside the heads, a mask per window and head serves every sample without being repeated.
    """
    batch, _, _, heads, size = part.shape
    (down, across), (rows, columns) = windows.counts, windows.size
    part = part.reshape(batch, down, rows, across, columns, heads, size).permute(0, 1, 3, 5, 2, 4, 6)
    return part.reshape(batch * (down * across // apart), apart * heads, rows * columns, size)


@constant
def log_offsets(rows: int, columns: int, device: torch.device) -> Tensor:
    """Every offset of two tokens of a window, log-spaced: (2 rows - 1)(2 columns - 1) x 2 float32, row first.

    t = sign(u) log2(1 + |u|) / log2 8 with u = 8 * offset / (side - 1) (Swin V2, section 3.3; skysense-v2.md, 3.2).
    """
    axes = []
    for side in (rows, columns):
        offsets = torch.arange(1 - side, side, dtype=torch.float32, device=device) * (8.0 / max(side - 1, 1))
        axes.append(offsets.sign() * torch.log2(1.0 + offsets.abs()) / 3.0)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 2)


@constant
def offset_index(rows: int, columns: int, device: torch.device) -> Tensor:
    """(N * N) int64 for the N tokens of a window: the row of `log_offsets` that tells query minus key."""
    row = torch.arange(rows, device=device).repeat_interleave(columns)
    column = torch.arange(columns, device=device).repeat(rows)
    down = row[:, None] - row + rows - 1
    across = column[:, None] - column + columns - 1
    return (down * (2 * columns - 1) + across).reshape(-1)


@constant
def window_mask(windows: Windows, padded: bool, device: torch.device) -> Tensor:
    """Windows x N x N float32: `BLOCKED` between tokens that rolling brought together, else 0.

    Args:
        windows: how the map is cut.
        padded: whether keys that are padding are blocked, too.
    """
    region, filler = _regions(windows, device)
    blocked = region[:, :, None] != region[:, None, :]
    if padded:
        blocked = blocked | filler[:, None, :]
    return torch.zeros_like(blocked, dtype=torch.float32).masked_fill(blocked, BLOCKED)


def _regions(windows: Windows, device: torch.device) -> tuple[Tensor, Tensor]:
    """Windows x N: the number of the region (nine at most), and whether the token is padding; both after rolling."""
    regions, fillers = [], []
    for axis, side in enumerate((windows.rows, windows.columns)):
        size, shift, whole = windows.size[axis], windows.shift[axis], side + windows.padding[axis]
        place = torch.arange(whole, device=device)
        regions.append((place >= whole - size).long() + (place >= whole - shift).long() if shift else place * 0)
        fillers.append((place + shift) % whole >= side)
    region = 3 * regions[0][:, None] + regions[1]
    filler = fillers[0][:, None] | fillers[1]
    return _by_window(region, windows), _by_window(filler, windows)


def _by_window(grid: Tensor, windows: Windows) -> Tensor:
    """H' x W' -> windows x N."""
    (down, across), (rows, columns) = windows.counts, windows.size
    return grid.reshape(down, rows, across, columns).transpose(1, 2).reshape(down * across, rows * columns)
