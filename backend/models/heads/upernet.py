"""UPerNet (Xiao et al. 2018): pyramid pooling, top-down pyramid and fusion at the finest level.

The settings are those of skysense-v2.md, 11.2 and 11.5, and smarties.md, 8.5; the order of operations follows
MMSegmentation, with which they were published.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.models.heads.parts import ConvolutionNorm, PixelClassifier, resize

SCALES = (1, 2, 3, 6)


class PyramidPooling(nn.Module):
    """Means over a grid of every scale, convolved and brought back, beside the map (Zhao et al. 2017).

    Args:
        inputs: channels of the map.
        width: channels of every scale and of the result.
        scales: cells per side of the grids; cells overlap where the map's side is no multiple.
    """

    def __init__(self, inputs: int, width: int, scales: Sequence[int] = SCALES) -> None:
        super().__init__()
        self.scales = tuple(scales)
        self.branches = nn.ModuleList(ConvolutionNorm(inputs, width, 1) for _ in self.scales)
        self.bottleneck = ConvolutionNorm(inputs + len(self.scales) * width, width, 3)

    def forward(self, maps: Tensor) -> Tensor:
        """B x inputs x h x w -> B x width x h x w."""
        found = [maps]
        for scale, branch in zip(self.scales, self.branches, strict=True):
            found.append(resize(branch(functional.adaptive_avg_pool2d(maps, scale)), maps.shape[2:]))
        result: Tensor = self.bottleneck(torch.cat(found, dim=1))
        return result


class UPerNet(nn.Module):
    """Classes of every pixel from a pyramid of maps.

    Maps of equal size are fine: resizing between the levels is then the identity.

    Args:
        channels: channels of the maps, fine to coarse.
        classes: number of classes.
        width: channels inside; 512 as published, 64 for small heads.
        scales: of the pyramid pooling.
        pools: factors by which the maps after the first are averaged beforehand, such as (1, 2, 4); a larger receptive
            field where all maps have the same stride. () leaves them as they are.
        dropout: before the classifier.
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        width: int = 512,
        scales: Sequence[int] = SCALES,
        pools: Sequence[int] = (),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if len(channels) < 2:
            raise ValueError("UPerNet needs at least two maps")
        if len(pools) >= len(channels):
            raise ValueError(f"{len(pools)} pooling factors are too many for {len(channels)} maps")
        self.pools = (1, *pools, *(1,) * (len(channels) - 1 - len(pools)))
        self.pooling = PyramidPooling(channels[-1], width, scales)
        self.laterals = nn.ModuleList(ConvolutionNorm(inputs, width, 1) for inputs in channels[:-1])
        self.outputs = nn.ModuleList(ConvolutionNorm(width, width, 3) for _ in channels[:-1])
        self.fusion = ConvolutionNorm(len(channels) * width, width, 3)
        self.classifier = PixelClassifier(width, classes, dropout)

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Classify every pixel.

        Args:
            maps: B x C x h x w each, fine to coarse.
            size: H, W of the result.

        Returns:
            logits B x classes x H x W, float32.
        """
        maps = [_pooled(level, factor) for level, factor in zip(maps, self.pools, strict=True)]
        logits: Tensor = self.classifier(self.fuse(maps), size)
        return logits

    def fuse(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps as in `forward` -> B x width x h x w of the finest."""
        above = self.pooling(maps[-1])
        levels = [above]
        for inputs, lateral, output in list(zip(maps, self.laterals, self.outputs, strict=False))[::-1]:
            above = lateral(inputs) + resize(above, inputs.shape[2:])
            levels.append(resize(output(above), maps[0].shape[2:]))
        levels[0] = resize(levels[0], maps[0].shape[2:])
        result: Tensor = self.fusion(torch.cat(levels[::-1], dim=1))
        return result


class FusedUPerNet(UPerNet):
    """UPerNet with the fused map of several modalities and dates as one more level (skysense-v2.md, 11.5).

    The fused map comes last and is brought to the resolution of the level before it.
    """

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """As in `UPerNet`, with the fused map B x d x h x w of any resolution as the last of `maps`."""
        *pyramid, fused = [_pooled(level, factor) for level, factor in zip(maps, self.pools, strict=True)]
        logits: Tensor = self.classifier(self.fuse([*pyramid, resize(fused, pyramid[-1].shape[2:])]), size)
        return logits


def _pooled(maps: Tensor, factor: int) -> Tensor:
    # Rounding up keeps the last rows and columns of maps whose side is no multiple.
    return maps if factor == 1 else functional.avg_pool2d(maps, factor, ceil_mode=True)
