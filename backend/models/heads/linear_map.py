"""Linear segmentation: the least a head can do, which shows what the encoder's map holds."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from backend.models.heads.parts import resize

# The linear probe's (smarties.md, 8.2), since the schedule is the linear probe's as well.
STD = 0.01


class LinearMap(nn.Sequential):
    """1 x 1 convolution of one map, bilinear to the wanted size (smarties.md, 8.5).

    The only layer is called "0", so that as `head` of a model its tensors are head.0.weight and head.0.bias as in the
    published DFC2020 file (smarties.md, 10.2).

    Args:
        channels: channels of the maps that are handed in.
        classes: number of classes.
        level: which of the maps is used.
    """

    def __init__(self, channels: Sequence[int], classes: int, level: int = -1) -> None:
        super().__init__(nn.Conv2d(channels[level], classes, 1))
        self.level = level
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Truncated normal, std 0.01; bias 0."""
        nn.init.trunc_normal_(self[0].weight, std=STD)  # type: ignore[arg-type]
        nn.init.zeros_(self[0].bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:  # type: ignore[override]
        """Maps B x C x h x w -> logits B x classes x H x W of `size`, float32."""
        return resize(self[0](maps[self.level]).float(), size)
