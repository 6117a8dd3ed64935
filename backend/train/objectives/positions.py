"""Which positions of two crops show the same ground (skysense-v2.md, 10.1 and 10.3).

A place of a sample is (x, y) in shares of its width and height, y downwards; a place of a crop the same, in the crop as
it is fed: cut, mirrored left to right where `flips`, then turned by `turns` quarters counter-clockwise.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from backend.train.data.views import View


def cell_centres(rows: int, columns: int, device: torch.device | None = None) -> Tensor:
    """Centres of the cells of a map, as places of its crop: (rows * columns) x 2, row by row."""
    ys = (torch.arange(rows, device=device) + 0.5) / rows
    xs = (torch.arange(columns, device=device) + 0.5) / columns
    return torch.stack([xs.repeat(rows), ys.repeat_interleave(columns)], dim=1)


def to_sample(view: View, places: Tensor) -> Tensor:
    """Places of the crops B x N x 2 -> places of the samples B x N x 2."""
    x, y = places.unbind(dim=2)
    for quarter in range(3):  # a turn counter-clockwise took (x, y) to (y, 1 - x): go back as often
        again = (view.turns > quarter)[:, None]
        x, y = torch.where(again, 1 - y, x), torch.where(again, x, y)
    x = torch.where(view.flips[:, None], 1 - x, x)
    left, top, right, bottom = (side[:, None] for side in view.boxes.unbind(dim=1))
    return torch.stack([left + x * (right - left), top + y * (bottom - top)], dim=2)


def to_crop(view: View, places: Tensor) -> Tensor:
    """Places of the samples B x N x 2 -> places of the crops B x N x 2; outside 0 to 1 where the crop ends before."""
    left, top, right, bottom = (side[:, None] for side in view.boxes.unbind(dim=1))
    x, y = (places[..., 0] - left) / (right - left), (places[..., 1] - top) / (bottom - top)
    x = torch.where(view.flips[:, None], 1 - x, x)
    for quarter in range(3):
        again = (view.turns > quarter)[:, None]
        x, y = torch.where(again, y, x), torch.where(again, 1 - x, y)
    return torch.stack([x, y], dim=2)


def sampled(maps: Tensor, places: Tensor) -> Tensor:
    """Maps B x C x h x w at places of their crops B x N x 2, bilinear: B x N x C; beyond the border its values."""
    grid = (2 * places - 1)[:, None].to(maps.dtype)
    found = functional.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return found[:, :, 0].transpose(1, 2)


def inside(places: Tensor) -> Tensor:
    """Which places ... x 2 lie in their crop: ... bool."""
    return ((places >= 0) & (places <= 1)).all(dim=-1)
