"""The feature pyramid of the detectors (Lin et al. 2017): four maps of any widths -> five of one width."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class FeaturePyramid(nn.Module):
    """Lateral 1 x 1 convolutions, top down by nearest neighbours and addition, 3 x 3 convolutions, one level on top.

    Args:
        channels: of the maps, fine to coarse.
        width: channels of every output map (skysense-v2.md, 11.3: 256).
    """

    def __init__(self, channels: Sequence[int], width: int = 256) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier uniform (Glorot and Bengio 2010), biases zero: the layers have no activation between them."""
        for convolution in (*self.lateral, *self.smooth):
            assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None
            nn.init.xavier_uniform_(convolution.weight)
            nn.init.zeros_(convolution.bias)

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        """B x channels x H x W each, fine to coarse -> one more map than given, B x width x H x W, strides 4 to 64.

        The coarsest is every second cell of the one before (max pooling of 1 x 1 cells).
        """
        sides = [lateral(level) for lateral, level in zip(self.lateral, maps, strict=True)]
        merged = [sides[-1]]
        for side in reversed(sides[:-1]):
            merged.insert(0, side + functional.interpolate(merged[0], size=side.shape[-2:], mode="nearest"))
        levels = [smooth(level) for smooth, level in zip(self.smooth, merged, strict=True)]
        return (*levels, functional.max_pool2d(levels[-1], kernel_size=1, stride=2))


def pyramid_level(areas: Tensor, finest_stride: int, count: int) -> Tensor:
    """Which of the `count` finest maps a box is read from: N areas in square pixels -> N indexes.

    Boxes of 224 x 224 belong to the map of stride 16, half the side to the next finer one (Lin et al. 2017, equation 1,
    with k0 = 4).
    """
    exponent = torch.floor(4 + 0.5 * torch.log2(areas / 224.0**2))
    return (exponent - math.log2(finest_stride)).clamp(0, count - 1).to(torch.int64)
