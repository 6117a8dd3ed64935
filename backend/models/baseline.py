"""A small convolutional encoder-decoder: the honest baseline that larger models have to beat.

Shapes are B x C x H x W; height and width are multiples of `Baseline.multiple`. The input is in physical units
(reflectance, decibel); what is computed from it before the first convolution lies inside the network, so every
runtime does the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def _pairs(indexes: Sequence[int]) -> tuple[tuple[int, int], ...]:
    numbers = [int(index) for index in indexes]
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


class SpectralFeatures(nn.Module):
    """Standardised bands, normalised differences of band pairs, local means and band differences.

    Args:
        mean: mean per band in physical units.
        std: standard deviation per band in physical units.
        ratios: band indexes a, b, a, b, …: (a - b) / (a + b) is added for each pair, as in the water index NDWI
            (McFeeters 1996, green and near infrared).
        differences: band indexes a, b, …: the difference of each pair is added, standardised, such as VV - VH in dB.
        smoothing: side of the square mean that is added per band in pixels; 0 for none, else odd. Averages speckle.
        keep_bands: whether the standardised bands are features themselves; without them, ratios do not see brightness.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        ratios: Sequence[int] = (),
        differences: Sequence[int] = (),
        smoothing: int = 0,
        keep_bands: bool = True,
    ) -> None:
        super().__init__()
        self.keep_bands = bool(keep_bands)
        self.ratios = _pairs(ratios)
        self.differences = _pairs(differences)
        self.smoothing = int(smoothing)
        self.values = {"mean": tuple(map(float, mean)), "std": tuple(map(float, std))}
        self.register_buffer("mean", torch.empty(1, len(mean), 1, 1))
        self.register_buffer("std", torch.empty(1, len(std), 1, 1))
        self.reset_parameters()

    @property
    def channels(self) -> int:
        """Number of feature channels."""
        bands = len(self.values["mean"])
        return bands * (self.keep_bands + bool(self.smoothing)) + len(self.ratios) + len(self.differences)

    def reset_parameters(self) -> None:
        """Fills the buffers from the statistics given at construction."""
        with torch.no_grad():
            for name, buffer in (("mean", self.mean), ("std", self.std)):
                buffer.copy_(torch.tensor(self.values[name]).reshape(buffer.shape))

    def forward(self, image: Tensor) -> Tensor:
        """B x bands x H x W in physical units -> B x channels x H x W."""
        bands = (image - self.mean) / self.std
        found = [bands] if self.keep_bands else []
        if self.smoothing:
            half = self.smoothing // 2
            found.append(functional.avg_pool2d(bands, self.smoothing, 1, half, count_include_pad=False))
        for a, b in self.ratios:
            first, second = image[:, a : a + 1], image[:, b : b + 1]
            found.append((first - second) / (first + second).clamp(min=0.01))
        found.extend(bands[:, a : a + 1] - bands[:, b : b + 1] for a, b in self.differences)
        return torch.cat(found, dim=1)


class ConvolutionBlock(nn.Sequential):
    """3 x 3 convolution, batch normalisation, ReLU: B x inputs x H x W -> B x outputs x H/stride x W/stride."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Baseline(nn.Module):
    """Encoder-decoder with four resolutions and additive skips; about 70 000 parameters at width 12.

    Args:
        input_name: name of the input slot.
        classes: number of classes.
        width: channels at full resolution; the coarser levels have 2, 3 and 4 times as many.
        activation: "identity" for logits or "softmax" for class probabilities.
        **features: arguments of `SpectralFeatures`.
    """

    multiple = 8

    def __init__(
        self,
        input_name: str,
        mean: Sequence[float],
        std: Sequence[float],
        classes: int = 2,
        width: int = 12,
        activation: str = "softmax",
        ratios: Sequence[int] = (),
        differences: Sequence[int] = (),
        smoothing: int = 0,
        keep_bands: bool = True,
    ) -> None:
        super().__init__()
        self.input_names = (input_name,)
        self.output_names = ("scores",)
        self.activation = activation
        self.features = SpectralFeatures(mean, std, ratios, differences, smoothing, keep_bands)
        widths = [width, 2 * width, 3 * width, 4 * width]
        self.stem = ConvolutionBlock(self.features.channels, width)
        self.down = nn.ModuleList(
            nn.Sequential(ConvolutionBlock(fine, coarse, 2), ConvolutionBlock(coarse, coarse))
            for fine, coarse in zip(widths, widths[1:], strict=False)
        )
        self.up = nn.ModuleList(
            nn.Conv2d(coarse, fine, 1) for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.merge = nn.ModuleList(ConvolutionBlock(channels, channels) for channels in widths[-2::-1])
        self.classify = nn.Conv2d(width + self.features.channels, classes, 1)

    def logits(self, image: Tensor) -> Tensor:
        """B x bands x H x W in physical units -> B x classes x H x W."""
        features = self.features(image)
        level = self.stem(features)
        skips = []
        for down in self.down:
            skips.append(level)
            level = down(level)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            coarse = functional.interpolate(up(level), scale_factor=2.0, mode="bilinear", align_corners=False)
            level = merge(coarse + skip)
        scores: Tensor = self.classify(torch.cat([level, features], dim=1))
        return scores

    def forward(self, image: Tensor) -> Tensor:
        """B x bands x H x W in physical units -> B x classes x H x W: logits or probabilities, see `activation`."""
        scores = self.logits(image)
        return scores.float().softmax(dim=1) if self.activation == "softmax" else scores
