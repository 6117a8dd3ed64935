"""Fully convolutional head (Long et al. 2015) and its part as an auxiliary head beside another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from backend.models.heads.parts import ConvolutionNorm, PixelClassifier

# Weight of the auxiliary loss (skysense-v2.md, 11.2).
AUXILIARY_WEIGHT = 0.4


class FCN(nn.Module):
    """3 x 3 convolutions and a classifier on one map.

    Two convolutions on a fused map (skysense-v2.md, 11.5), one for the auxiliary head (11.2).

    Args:
        channels: channels of the maps that are handed in.
        classes: number of classes.
        width: channels of the convolutions.
        convolutions: how many.
        level: which of the maps is used.
        dropout: before the classifier.
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        width: int = 256,
        convolutions: int = 2,
        level: int = -1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.level = level
        inputs = [channels[level], *(width,) * (convolutions - 1)]
        self.convolutions = nn.Sequential(*(ConvolutionNorm(count, width, 3) for count in inputs[:convolutions]))
        self.classifier = PixelClassifier(width, classes, dropout)

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Maps B x C x h x w -> logits B x classes x H x W of `size`, float32."""
        logits: Tensor = self.classifier(self.convolutions(maps[self.level]), size)
        return logits


class WithAuxiliary(nn.Module):
    """A head for maps, and in training an FCN on an inner stage that gives the encoder a shorter way to the loss.

    Only `head` is needed afterwards: its weights are those of the finished model.

    Args:
        head: the head proper.
        channels: channels of the maps that are handed in.
        classes: number of classes.
        width: channels of the auxiliary head.
        level: map of the auxiliary head; stage 3 as published.
    """

    def __init__(
        self, head: nn.Module, channels: Sequence[int], classes: int, width: int = 256, level: int = 2
    ) -> None:
        super().__init__()
        self.head = head
        self.auxiliary = FCN(channels, classes, width, convolutions=1, level=level)

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor | tuple[Tensor, Tensor]:
        """Maps -> logits of the head; in training also those of the auxiliary head, both as the head gives them."""
        logits: Tensor = self.head(maps, size)
        return (logits, self.auxiliary(maps, size)) if self.training else logits


def auxiliary_loss(logits: tuple[Tensor, Tensor], loss: Callable[[Tensor], Tensor]) -> Tensor:
    """loss(head) + 0.4 loss(auxiliary), for what `WithAuxiliary` gives in training."""
    head, auxiliary = logits
    return loss(head) + AUXILIARY_WEIGHT * loss(auxiliary)
