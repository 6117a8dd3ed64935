"""Geo-context prototypes: what a region usually looks like (SkySense v1; skysense-v2.md, 9). Off by default.

Without long pre-training the prototypes carry no information.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.models.layers.initial import truncated_normal
from backend.models.layers.precision import full_precision


class GeoContext(nn.Module):
    """GeoContext per region, read by attention and learnt without gradient by balanced assignment.

    Args:
        width: channels of the fused map; the result has twice as many.
        regions: number of regions.
        count: prototypes per region.
        size: numbers per prototype; linear maps lead there and back.
        momentum: of the learning.
        temperature: of the assignment.
    """

    prototypes: Tensor

    def __init__(
        self,
        width: int,
        regions: int = 4096,
        count: int = 100,
        size: int = 512,
        momentum: float = 0.999,
        temperature: float = 0.05,
    ) -> None:
        super().__init__()
        self.momentum, self.temperature = momentum, temperature
        self.down = nn.Linear(width, size)
        self.up = nn.Linear(size, width)
        self.register_buffer("prototypes", torch.empty(regions, count, size))
        self._owner: tuple[GeoContext, ...] = ()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Truncated normal, std 0.02."""
        truncated_normal(self)
        nn.init.trunc_normal_(self.prototypes, std=0.02)

    def share(self, owner: GeoContext) -> None:
        """Reads from now on what `owner` learns: the teacher has no prototypes of its own."""
        # In a tuple, so that the owner is no part of this module, whose tensors are moved and loaded by themselves.
        self._owner = (owner,)

    @property
    def known(self) -> Tensor:
        """The prototypes that are read: one's own, or those that are shared, wherever they have been moved to."""
        return self._owner[0].known if self._owner else self.prototypes

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}prototypes"] = self.known if keep_vars else self.known.detach()

    def forward(self, fused: Tensor, regions: Tensor) -> Tensor:
        """B x width x h x w and B int64 -> B x 2 width x h x w: the map, and what its regions' prototypes answer."""
        batch, width, rows, columns = fused.shape
        positions = fused.flatten(2).transpose(1, 2)
        known = self.known[regions][:, None]
        queries = self.down(positions)[:, None]
        read = functional.scaled_dot_product_attention(queries, known.to(queries), known.to(queries))[:, 0]
        answer = self.up(read).transpose(1, 2).reshape(batch, width, rows, columns)
        return torch.cat([fused, answer.to(fused.dtype)], dim=1)

    @torch.no_grad()
    def learn(self, fused: Tensor, regions: Tensor) -> None:
        """Moves the prototypes of the regions in the batch towards what was seen there.

        Args:
            fused: B x width x h x w.
            regions: B int64; samples of one region are learnt together.
        """
        with full_precision(fused.device):
            seen = self.down(fused.float().flatten(2).transpose(1, 2))
        for region in regions.unique().tolist():
            positions = seen[regions == region].flatten(0, 1)
            known = self.prototypes[region].float()
            likeness = functional.normalize(positions, dim=1) @ functional.normalize(known, dim=1).T
            shares = balanced(likeness, self.temperature)
            centres = (shares / shares.sum(dim=0)).T @ positions
            self.prototypes[region] = self.momentum * known + (1.0 - self.momentum) * centres


def balanced(likeness: Tensor, temperature: float = 0.05, iterations: int = 3) -> Tensor:
    """Assignment of rows to columns by Sinkhorn and Knopp's scaling (Cuturi 2013; Caron et al. 2020).

    Args:
        likeness: rows x columns float32.
        temperature: the smaller, the harder the assignment.
        iterations: of scaling columns and then rows.

    Returns:
        Rows x columns, rows of sum 1, columns of nearly equal sums.
    """
    logits = likeness / temperature
    for _ in range(iterations):
        logits = logits - logits.logsumexp(dim=0)
        logits = logits - logits.logsumexp(dim=1, keepdim=True)
    return logits.exp()


def region_of(longitude: float, latitude: float, side: int = 64) -> int:
    """The region of a place in a grid of side x side cells of equal area over the whole Earth.

    Cells are equal steps of longitude and of the sine of the latitude (Lambert's cylindrical equal-area projection).

    Args:
        longitude: in degrees; 180 is -180.
        latitude: in degrees, -90 to 90.
        side: 64 gives the 4096 regions of SkySense v1, though not the same ones.
    """
    column = int(((longitude + 180.0) % 360.0) / 360.0 * side)
    row = int((1.0 - math.sin(math.radians(latitude))) / 2.0 * side)
    return min(row, side - 1) * side + min(column, side - 1)
