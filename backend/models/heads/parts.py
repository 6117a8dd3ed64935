"""What several heads are made of: convolution with norm, resizing, the classifier of every pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# Of the weights of classifiers that follow convolutions: MMSegmentation, which v1 of SkySense used (`conv_seg`).
CLASSIFIER_STD = 0.01


class ConvolutionNorm(nn.Sequential):
    """Convolution that keeps the size, batch normalisation, ReLU: B x inputs x h x w -> B x outputs x h x w.

    In training every channel needs more than one value; a map of one pixel thus needs a batch of two.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal distribution that keeps the variance of gradients through ReLU (He et al. 2015, as MMCV)."""
        nn.init.kaiming_normal_(self[0].weight, mode="fan_out", nonlinearity="relu")  # type: ignore[arg-type]


class PixelClassifier(nn.Module):
    """Dropout of whole channels, 1 x 1 convolution to the classes, bilinear to the wanted size.

    Args:
        inputs: channels of the map.
        classes: number of classes.
        dropout: probability of leaving a channel out in training.
    """

    def __init__(self, inputs: int, classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(inputs, classes, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal, std 0.01; bias 0."""
        nn.init.normal_(self.classify.weight, std=CLASSIFIER_STD)
        nn.init.zeros_(self.classify.bias)  # type: ignore[arg-type]

    def forward(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """B x inputs x h x w -> logits B x classes x H x W, float32."""
        return resize(self.classify(self.dropout(maps)).float(), size)


def resize(maps: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """B x C x h x w -> B x C x H x W, bilinear (align_corners off); the same tensor where sizes agree."""
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return functional.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)
