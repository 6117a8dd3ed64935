"""LayerNorm over the channels of maps."""

from __future__ import annotations

from torch import Tensor, nn


class MapNorm(nn.LayerNorm):
    """LayerNorm over C of B x C x H x W."""

    def forward(self, maps: Tensor) -> Tensor:
        """B x C x H x W -> B x C x H x W."""
        return super().forward(maps.movedim(1, -1)).movedim(-1, 1)
