"""Position tables of a token grid: learned and resized, or sine-cosine by formula. Both are cached by grid."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional


@lru_cache(maxsize=32)
def sine_cosine_table(rows: int, columns: int, width: int) -> Tensor:
    """Fixed 2-D sine-cosine table, (rows * columns) x width float32, row by row.

    At row r and column s: [sin(s w), cos(s w), sin(r w), cos(r w)], each width/4 long, w_m = 10000^(-m/(width/4)).
    The column comes first (smarties.md, 6.2). Computed in float64.

    Raises:
        ValueError: width is no multiple of 4.
    """
    if width % 4:
        raise ValueError(f"a sine-cosine table needs a width that is a multiple of 4, not {width}")
    quarter = width // 4
    omega = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64, device="cpu") / quarter)
    parts = []
    for count, other, column in ((columns, rows, True), (rows, columns, False)):
        angles = torch.arange(count, dtype=torch.float64, device="cpu")[:, None] * omega
        pair = torch.cat([angles.sin(), angles.cos()], dim=1)
        shape = (rows, columns, 2 * quarter)
        parts.append((pair[None, :] if column else pair[:, None]).expand(shape))
    return torch.cat(parts, dim=2).reshape(rows * columns, width).float()


class PositionTable(nn.Module):
    """A learned table over a base grid, resized bicubically (align_corners off) to the grid at hand.

    Resizing over the extent gives the same code to the same ground position, whatever the grid (skysense-v2.md, 3.3).

    Args:
        rows, columns: base grid.
        width: numbers per position.
    """

    def __init__(self, rows: int, columns: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(1, width, rows, columns))
        self._cache: dict[tuple[int, int], tuple[tuple[object, ...], Tensor]] = {}
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Truncated normal, std 0.02."""
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, rows: int, columns: int) -> Tensor:
        """1 x (rows * columns) x width, row by row. Kept by grid where no gradient is wanted."""
        if torch.is_grad_enabled() and self.table.requires_grad:
            return self._resized(rows, columns)
        if torch.compiler.is_compiling():
            return self._resized(rows, columns)
        state = (self.table.data_ptr(), self.table._version, self.table.device, self.table.dtype)
        kept = self._cache.get((rows, columns))
        if kept is None or kept[0] != state:
            kept = (state, self._resized(rows, columns))
            self._cache[rows, columns] = kept
        return kept[1]

    def _resized(self, rows: int, columns: int) -> Tensor:
        table: Tensor = self.table
        if table.shape[2:] != (rows, columns):
            size = (rows, columns)
            table = functional.interpolate(table.float(), size=size, mode="bicubic", align_corners=False).to(table)
        return table.flatten(2).transpose(1, 2)
