"""The anchors of region proposals: three horizontal boxes around each cell of each pyramid level (Ren et al. 2015)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SCALE = 8  # side of a square anchor over the stride (skysense-v2.md, 11.3)
RATIOS = (0.5, 1.0, 2.0)  # height over width (the same)


def anchor_grid(rows: int, columns: int, stride: int, device: torch.device | None = None) -> Tensor:
    """Anchors of one level in the order (row, column, ratio): (rows * columns * 3) x 4 (x1, y1, x2, y2) float32 pixels.

    All ratios have the area (SCALE * stride)². Centres are those of the cells' patches, which is where tokens of a
    patch encoder look.
    """
    side = float(SCALE * stride)
    widths = torch.tensor([side / math.sqrt(ratio) for ratio in RATIOS], device=device)
    heights = torch.tensor([side * math.sqrt(ratio) for ratio in RATIOS], device=device)
    shape = (rows, columns, len(RATIOS))
    x = ((torch.arange(columns, device=device) + 0.5) * stride)[None, :, None].expand(shape)
    y = ((torch.arange(rows, device=device) + 0.5) * stride)[:, None, None].expand(shape)
    corners = [x - widths / 2, y - heights / 2, x + widths / 2, y + heights / 2]
    return torch.stack(corners, dim=-1).reshape(-1, 4)
