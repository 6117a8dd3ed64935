"""Fusion of modalities and dates at each ground position (skysense-v2.md, 7 and 8)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.models.layers.initial import truncated_normal
from backend.models.layers.transformer import TransformerBlock

DAYS = 365
ROUNDING = 1e-4  # weight of a neighbour that interpolation leaves where grid points coincide


class TemporalFusion(nn.Module):
    """A transformer over the entries (one modality at one date each) of one ground position; positions are apart.

    Args:
        width_in: channels of the entries.
        width: channels of the result.
        layers: pre-norm transformer blocks; no norm follows the last.
        heads: attention heads.
        drop_path: rate of stochastic depth in every block.
        chunk: ground positions that are computed at once where no gradient is wanted; bounds the memory.
    """

    def __init__(
        self, width_in: int, width: int, layers: int, heads: int, drop_path: float = 0.3, chunk: int = 4096
    ) -> None:
        super().__init__()
        self.chunk = chunk
        self.days = nn.Parameter(torch.empty(DAYS, width_in))
        self.project = nn.Linear(width_in, width)
        self.extra = nn.Parameter(torch.empty(width))
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, drop_path=drop_path) for _ in range(layers))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Truncated normal, std 0.02, everywhere."""
        truncated_normal(self)
        nn.init.trunc_normal_(self.days, std=0.02)
        nn.init.trunc_normal_(self.extra, std=0.02)

    def forward(self, entries: Tensor, days: Tensor, valid: Tensor | None = None) -> Tensor:
        """Fuse all entries.

        Args:
            entries: B x N x width_in x h x w.
            days: B x N int64, day of year from 1 to 366, 0 where an entry has no date.
            valid: B x N x h x w bool, False where an entry does not count, whatever its values; None counts all.

        Returns:
            B x width x h x w, finite also where no entry counts.
        """
        batch, count, _, rows, columns = entries.shape
        codes = functional.linear(self.day_codes(days), self.project.weight)
        tokens = self.project(entries.permute(0, 3, 4, 1, 2)) + codes[:, None, None]
        tokens = tokens.reshape(batch * rows * columns, count, -1)
        seen = None if valid is None else valid.permute(0, 2, 3, 1).reshape(batch * rows * columns, count)
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            fused = self.fuse(tokens, seen)
        else:
            parts = tokens.split(self.chunk)
            masks = [None] * len(parts) if seen is None else seen.split(self.chunk)
            fused = torch.cat([self.fuse(part, mask) for part, mask in zip(parts, masks, strict=True)])
        return fused.reshape(batch, rows, columns, -1).permute(0, 3, 1, 2)

    def day_codes(self, days: Tensor) -> Tensor:
        """B x N -> B x N x width_in; day 366 is day 365, and no date is no code."""
        codes = functional.embedding(days.clamp(1, DAYS) - 1, self.days)
        return codes * (days > 0)[..., None].to(codes.dtype)

    def fuse(self, tokens: Tensor, seen: Tensor | None = None) -> Tensor:
        """The extra token after all blocks: P x N x width and P x N bool -> P x width."""
        mask = None
        if seen is not None:
            tokens = tokens.masked_fill(~seen[..., None], 0.0)  # weight 0 alone would let NaN through
            mask = functional.pad(seen, (1, 0), value=True)[:, None, None]
        extra = self.extra.to(tokens.dtype).expand(tokens.shape[0], 1, -1)
        tokens = torch.cat([extra, tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens, mask)
        return tokens[:, 0]


def finest_grid(maps: Sequence[Tensor]) -> tuple[int, int]:
    """Rows and columns of the map with the most positions; maps are ... x h x w."""
    return max(((values.shape[-2], values.shape[-1]) for values in maps), key=lambda grid: grid[0] * grid[1])


def resized(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """B x N x C x h x w -> B x N x C x rows x columns, bilinear (align_corners off)."""
    if maps.shape[-2:] == grid:
        return maps
    batch, count = maps.shape[:2]
    larger = functional.interpolate(maps.flatten(0, 1), size=grid, mode="bilinear", align_corners=False)
    return larger.reshape(batch, count, -1, *grid)


def resized_valid(valid: Tensor, grid: tuple[int, int]) -> Tensor:
    """B x N x h x w bool -> B x N x rows x columns: valid where everything it is interpolated from is valid."""
    invalid = resized((~valid)[:, :, None].float(), grid)
    return invalid[:, :, 0] < ROUNDING
