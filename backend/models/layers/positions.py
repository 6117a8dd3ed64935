"""Position tables of a token grid: learned and resized, or sine-cosine by formula. Both are cached by grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.models.layers.constants import Memory, constant


@constant
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
    for count, column in ((columns, True), (rows, False)):
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
        self._memory = Memory()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Truncated normal, std 0.02."""
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, rows: int, columns: int) -> Tensor:
        """1 x (rows * columns) x width, row by row. Kept by grid where no gradient is wanted."""
        return self._memory.recall((rows, columns), [self.table], lambda: self._resized(rows, columns))

    def _resized(self, rows: int, columns: int) -> Tensor:
        return _resized(self.table, rows, columns).flatten(2).transpose(1, 2)


class SineCosinePositions(nn.Module):
    """The fixed sine-cosine table in place of a learned one: no parameters, resized alike.

    Args:
        rows, columns: base grid.
        width: numbers per position, a multiple of 4.
    """

    def __init__(self, rows: int, columns: int, width: int) -> None:
        super().__init__()
        self.base = (rows, columns, width)

    def forward(self, rows: int, columns: int) -> Tensor:
        """1 x (rows * columns) x width, row by row, float32 on the CPU."""
        return _resized_sine_cosine(*self.base, rows, columns)


@constant
def _resized_sine_cosine(base_rows: int, base_columns: int, width: int, rows: int, columns: int) -> Tensor:
    table = sine_cosine_table(base_rows, base_columns, width).T.reshape(1, width, base_rows, base_columns)
    return _resized(table, rows, columns).flatten(2).transpose(1, 2)


def _resized(table: Tensor, rows: int, columns: int) -> Tensor:
    """1 x width x base rows x base columns -> 1 x width x rows x columns."""
    if table.shape[2:] == (rows, columns):
        return table
    return functional.interpolate(table.float(), size=(rows, columns), mode="bicubic", align_corners=False).to(table)
