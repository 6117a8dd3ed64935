"""Two co-registered images through one SMARTIES encoder: the three fusions of section 8.4.

Every function takes the encoder, two normalised images B x C x H x W and what their channels are. Stacking and
concatenation are deterministic; mixup concatenation takes a draw, which a seed makes reproducible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from backend.models.encoders.smarties import SmartiesBackbone
from backend.models.encoders.smarties_mixup import draw, exchange, taken_from_first
from backend.models.encoders.smarties_projection import PATCH
from backend.models.encoders.smarties_spectrum import Blend

SEED = 42  # of the release (section 8)
Images = tuple[Tensor, Tensor]
BandLists = tuple[Sequence[Blend], Sequence[Blend]]


def stacked(encoder: SmartiesBackbone, images: Images, bands: BandLists) -> Tensor:
    """Image stacking: all bands as one image -> B x width."""
    return encoder.features(torch.cat(images, dim=1), (*bands[0], *bands[1])).feature


def concatenated(encoder: SmartiesBackbone, images: Images, bands: BandLists) -> Tensor:
    """Feature concatenation: each image encoded alone -> B x (2 width)."""
    return torch.cat([encoder.features(image, own).feature for image, own in zip(images, bands, strict=True)], dim=1)


def mixed(encoder: SmartiesBackbone, images: Images, bands: BandLists, noise: Tensor) -> Tensor:
    """Mixup concatenation: the features of two streams that exchange patches, true mirrors of each other.

    Args:
        encoder, images, bands: see the module.
        noise: B x L in [0, 1): stream 1 takes the first image where it is lowest, in half of the patches.

    Returns:
        B x (2 width), stream 1 in front.
    """
    return mixed_at(encoder, images, bands, taken_from_first(noise))


def mixed_at(encoder: SmartiesBackbone, images: Images, bands: BandLists, taken: Tensor) -> Tensor:
    """`mixed` where stream 1 takes the first image's patches in the places `taken`, B x L bool."""
    tokens = [encoder.spectrum_projection(image, own) for image, own in zip(images, bands, strict=True)]
    streams = exchange(tokens[0], tokens[1], taken, mirror=True)
    grid = (images[0].shape[2] // PATCH, images[0].shape[3] // PATCH)
    return torch.cat([encoder.encode(stream, grid).feature for stream in streams], dim=1)


def seeded(
    encoder: SmartiesBackbone, images: Images, bands: BandLists, seed: int = SEED, device: torch.device | None = None
) -> Tensor:
    """`mixed` with a draw that depends on the seed and the shape alone."""
    image = images[0]
    patches = (image.shape[2] // PATCH) * (image.shape[3] // PATCH)
    return mixed(encoder, images, bands, draw(image.shape[0], patches, seed, device or image.device))


def complement(features: Tensor) -> Tensor:
    """What `mixed` gives for the complement of its draw, which exchanges the two streams: B x (2 width)."""
    first, second = features.chunk(2, dim=1)
    return torch.cat([second, first], dim=1)


def averaged(predict: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    """Mean prediction over a draw and its complement.

    Args:
        predict: from features B x (2 width) to probabilities.
        features: what `mixed` returned.
    """
    return (predict(features) + predict(complement(features))) / 2
