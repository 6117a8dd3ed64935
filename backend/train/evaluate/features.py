"""Features of pictures by a frozen encoder, as each of them is fed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from backend.models.encoders.skysense_v2 import SkySenseV2
from backend.models.encoders.smarties import SmartiesBackbone
from backend.models.encoders.smarties_preprocess import statistics_of
from backend.models.encoders.smarties_resize import resize
from backend.models.encoders.smarties_spectrum import band_sets
from backend.train.data.crops import normalised

BATCH = 16
RGB = "RGB"


@torch.no_grad()
def picture_features(encoder: nn.Module, pictures: Sequence[np.ndarray], size: int) -> np.ndarray:
    """One feature per picture, in evaluation mode.

    SkySense V2: the mean of the last map (skysense-v2.md, 11.1). SMARTIES: the class feature (smarties.md, 8.1).

    Args:
        encoder: SkySense V2 or SMARTIES.
        pictures: 3 x H x W uint8 each; resized to a square before they are fed.
        size: its pixels per side.

    Returns:
        N x D float64.

    Raises:
        TypeError: it is another encoder.
    """
    encoder.eval()
    found = []
    for begin in range(0, len(pictures), BATCH):
        images = torch.cat([_square(picture, size) for picture in pictures[begin : begin + BATCH]])
        found.append(_features(encoder, images).double().cpu().numpy())
    return np.concatenate(found)


def _square(picture: np.ndarray, size: int) -> Tensor:
    """3 x H x W -> 1 x 3 x size x size float32, 0 to 255."""
    return resize(torch.from_numpy(picture[None].astype(np.float32)), size, size).clamp(0, 255)


def _features(encoder: nn.Module, images: Tensor) -> Tensor:
    if isinstance(encoder, SkySenseV2):
        inputs = torch.from_numpy(normalised(images.numpy(), "hr").astype(np.float32))
        return encoder.features(inputs, "hr")[-1].mean(dim=(2, 3))
    if isinstance(encoder, SmartiesBackbone):
        keys = band_sets()[RGB]
        known = {row.key: row for row in statistics_of(RGB)}
        low, high, mean, std = (
            torch.tensor([getattr(known[key], name) for key in keys])[:, None, None]
            for name in ("p1", "p99", "mean", "std")
        )
        inputs = (((images - low) / (high - low)).clamp(0, 1) - mean) / std
        return encoder.features(inputs, encoder.bands(keys)).feature
    raise TypeError(f"{type(encoder).__name__} has no features of pictures")
