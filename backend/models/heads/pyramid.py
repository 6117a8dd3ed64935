"""A pyramid from the equal maps of a plain vision transformer, and UPerNet behind it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from backend.models.heads.upernet import UPerNet


class PyramidNeck(nn.Module):
    """Four maps of one stride to four strides: x4, x2, as it is, /2 (smarties.md, 8.5; after Li et al. 2022).

    Transposed convolutions and batch norm start as torch makes them, as in the published probes.

    Args:
        channels: channels of the four maps, early to late blocks; kept.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        if len(channels) != 4:
            raise ValueError(f"the pyramid takes four maps, not {len(channels)}")
        first, second = channels[:2]
        self.up4 = nn.Sequential(
            nn.ConvTranspose2d(first, first, 2, 2),
            nn.BatchNorm2d(first),
            nn.GELU(),
            nn.ConvTranspose2d(first, first, 2, 2),
        )
        self.up2 = nn.ConvTranspose2d(second, second, 2, 2)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Four maps B x C x h x w -> maps of 4h x 4w, 2h x 2w, h x w and h/2 x w/2, the last rounded up."""
        first, second, third, fourth = maps
        return self.up4(first), self.up2(second), third, functional.max_pool2d(fourth, 2, ceil_mode=True)


class PyramidUPerNet(nn.Module):
    """Pyramid neck and UPerNet: classes of every pixel from four maps of one stride, such as blocks 3, 5, 7, 11.

    Args:
        channels: channels of the four maps.
        classes: number of classes.
        width: of UPerNet.
    """

    def __init__(self, channels: Sequence[int], classes: int, width: int = 512) -> None:
        super().__init__()
        self.neck = PyramidNeck(channels)
        self.head = UPerNet(channels, classes, width)

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Four maps B x C x h x w -> logits B x classes x H x W of `size`, float32."""
        logits: Tensor = self.head(self.neck(maps), size)
        return logits
