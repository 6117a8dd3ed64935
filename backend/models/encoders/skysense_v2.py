"""SkySense V2 (Zhang et al. 2025): the backbone, the fusion of dates and modalities, and the family's members.

Three paths (skysense-v2.md, 11): one image through `features`; several dates through `series` and `fuse`; several
modalities through `series` each and `fuse` all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from backend.models.encoders.fusion import TemporalFusion, finest_grid, resized, resized_valid
from backend.models.encoders.prototypes import GeoContext
from backend.models.encoders.skysense_v2_backbone import Backbone, SeparateBackbones
from backend.models.layers.experts import Routing


class SkySenseV2(nn.Module):
    """Backbone, fusion and, if wanted, geo-context.

    Args:
        width, depths, experts, expert_blocks, grids: see `Backbone`.
        fusion_width, fusion_layers, fusion_heads: see `TemporalFusion`.
        shared: False gives each modality a backbone of its own.
        context: arguments of `GeoContext`; None for no geo-context.
        **switches: further arguments of `Backbone`.
    """

    def __init__(
        self,
        width: int,
        depths: Sequence[int],
        experts: int,
        expert_blocks: int,
        grids: Sequence[int],
        fusion_width: int,
        fusion_layers: int,
        fusion_heads: int,
        shared: bool = True,
        context: Mapping[str, Any] | None = None,
        **switches: Any,
    ) -> None:
        super().__init__()
        kind = Backbone if shared else SeparateBackbones
        self.backbone: Backbone | SeparateBackbones = kind(
            width=width, depths=depths, experts=experts, expert_blocks=expert_blocks, grids=grids, **switches
        )
        self.fusion = TemporalFusion(self.backbone.widths[-1], fusion_width, fusion_layers, fusion_heads)
        self.context = None if context is None else GeoContext(fusion_width, **context)

    def forward(self, image: Tensor, modality: str, routing: list[Routing] | None = None) -> tuple[Tensor, ...]:
        """As `features`."""
        return self.features(image, modality, routing)

    def features(self, image: Tensor, modality: str, routing: list[Routing] | None = None) -> tuple[Tensor, ...]:
        """Four maps of one date: B x channels x H x W -> B x C_s x h x w each, see `Backbone.forward`."""
        maps: tuple[Tensor, ...] = self.backbone(image, modality, routing)
        return maps

    def series(self, images: Tensor, modality: str, routing: list[Routing] | None = None) -> Tensor:
        """Last maps of several dates of one modality: B x N x channels x H x W -> B x N x 8C x h x w."""
        last = self.features(images.flatten(0, 1), modality, routing)[-1]
        return last.reshape(images.shape[0], images.shape[1], *last.shape[1:])

    def fuse(
        self,
        series: Sequence[Tensor],
        days: Sequence[Tensor],
        valid: Sequence[Tensor | None] | None = None,
        regions: Tensor | None = None,
    ) -> Tensor:
        """One map of all modalities and dates, on the finest grid among them.

        Args:
            series: per modality, B x N_i x 8C x h_i x w_i as `series` gives it.
            days: per modality, B x N_i int64, day of year, 0 for no date.
            valid: per modality, B x N_i x h_i x w_i bool, or None where everything is valid.
            regions: B int64, the regions of the geo-context.

        Returns:
            B x fusion width x h x w; twice the channels with geo-context.

        Raises:
            ValueError: geo-context without regions, or regions without geo-context.
        """
        if (regions is None) != (self.context is None):
            raise ValueError("regions are for models with geo-context, which cannot do without them")
        grid = finest_grid(series)
        entries = torch.cat([resized(maps, grid) for maps in series], dim=1)
        fused: Tensor = self.fusion(entries, torch.cat(list(days), dim=1), _joined_valid(series, valid, grid))
        return fused if self.context is None else self.context(fused, regions)


def _joined_valid(
    series: Sequence[Tensor], valid: Sequence[Tensor | None] | None, grid: tuple[int, int]
) -> Tensor | None:
    """B x N x h x w bool for all entries together; None where everything is valid."""
    if valid is None or all(mask is None for mask in valid):
        return None
    masks = []
    for maps, mask in zip(series, valid, strict=True):
        whole = maps.new_ones((*maps.shape[:2], *grid), dtype=torch.bool)
        masks.append(whole if mask is None else resized_valid(mask, grid))
    return torch.cat(masks, dim=1)


def _member(
    width: int,
    depths: Sequence[int],
    expert_blocks: int,
    fusion: tuple[int, int, int],
    experts: int = 4,
    grids: tuple[int, int] = (32, 16),
) -> Callable[..., nn.Module]:
    """A member of the family; `fusion` is width, layers, heads (skysense-v2.md, 6)."""
    fusion_width, fusion_layers, fusion_heads = fusion
    return partial(
        SkySenseV2,
        width=width,
        depths=depths,
        experts=experts,
        expert_blocks=expert_blocks,
        grids=grids,
        fusion_width=fusion_width,
        fusion_layers=fusion_layers,
        fusion_heads=fusion_heads,
    )


MEMBERS: dict[str, Callable[..., nn.Module]] = {
    "skysense-v2-tiny": _member(32, (2, 2, 6, 1), 2, (128, 2, 4)),
    "skysense-v2-small": _member(64, (2, 2, 8, 2), 4, (256, 4, 8)),
    "skysense-v2-base": _member(96, (2, 2, 18, 2), 6, (512, 6, 16)),
    "skysense-v2-full": _member(352, (2, 2, 18, 2), 6, (1024, 24, 16), experts=8, grids=(64, 32)),
    "skysense-v2-full-dense": _member(352, (2, 2, 18, 2), 6, (1024, 24, 16), experts=0, grids=(64, 32)),
}
