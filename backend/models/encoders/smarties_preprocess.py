"""From pixel values to the input of SMARTIES: normalisation per band, then resizing (section 3).

Values are those of the products the statistics were made from. Sentinel-2 products of processing baseline 04.00 and
later carry an offset of 1000 that goes first (`offset`), and Sentinel-1 is in decibel (section 13, 9 and 10): metadata
decides, nothing here looks at the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from backend.models.encoders.smarties_spectrum import read_data
from backend.protocol.errors import ParameterError


@dataclass(frozen=True)
class BandStatistics:
    """Statistics of one band.

    Attributes:
        key: spectral range.
        used: whether the band enters the model.
        p1, p99: percentiles of the values.
        mean, std: of the values after scaling p1..p99 to 0..1 and clipping.
    """

    key: str
    used: bool
    p1: float
    p99: float
    mean: float
    std: float


SAME_AS = {"BigEarthNet-S2": "SENTINEL2-L2A", "BigEarthNet-S1": "SENTINEL1-GRD"}  # section 3.2


@cache
def statistics() -> dict[str, tuple[BandStatistics, ...]]:
    """Every published table in channel order, by name (sections 3.1 and 3.2).

    The mean and the standard deviation of "RGB" equal those of "UC-Merced", with other percentiles. The release ships
    them like that, so they are kept.
    """
    tables = read_data("smarties_statistics")
    return {name: tuple(BandStatistics(**row) for row in table["bands"]) for name, table in tables.items()}


def statistics_of(name: str) -> tuple[BandStatistics, ...]:
    """The published table `name`, or that of the pre-training sensor which an evaluation set shares it with.

    Raises:
        ParameterError: there is none.
    """
    found = statistics().get(SAME_AS.get(name, name))
    if found is None:
        known = ", ".join([*statistics(), *SAME_AS])
        raise ParameterError(f"there are no SMARTIES statistics {name!r}", f"there is {known}")
    return found


def estimate(values: np.ndarray, valid: np.ndarray, keys: Sequence[str]) -> tuple[BandStatistics, ...]:
    """Statistics of one's own data over its valid pixels (section 3.2).

    Args:
        values: C x H x W.
        valid: H x W bool.
        keys: spectral range per band.

    Raises:
        ParameterError: a band has no two different values among its valid pixels.
    """
    found = []
    for key, band in zip(keys, values, strict=True):
        pixels = band[valid].astype(np.float64)
        low, high = np.percentile(pixels, [1, 99]) if pixels.size else (0.0, 0.0)
        if not high > low:
            raise ParameterError(f"the band {key} has no spread of values", "statistics need valid, varying pixels")
        scaled = np.clip((pixels - low) / (high - low), 0, 1)
        found.append(BandStatistics(key, True, float(low), float(high), float(scaled.mean()), float(scaled.std())))
    return tuple(found)


def normalise(
    image: Tensor, bands: Sequence[BandStatistics], valid: Tensor | None = None, offset: float = 0.0
) -> Tensor:
    """Percentiles to 0..1, clip, standardise; bands that are not used are left out.

    Args:
        image: B x C x H x W pixel values, C as many as `bands`.
        bands: statistics in channel order.
        valid: B x H x W bool; 0 is put where it is False, the mean of every band.
        offset: added to the pixel values first, such as -1000 for Sentinel-2 from processing baseline 04.00 on.

    Returns:
        B x (used bands) x H x W float32.

    Raises:
        ParameterError: the channels are not as many as the bands.
    """
    if image.shape[1] != len(bands):
        raise ParameterError(f"an image of {image.shape[1]} bands does not fit statistics of {len(bands)}")
    kept = [number for number, band in enumerate(bands) if band.used]
    low, high, mean, std = (
        torch.tensor([getattr(bands[number], name) for number in kept], device=image.device)[:, None, None]
        for name in ("p1", "p99", "mean", "std")
    )
    scaled = ((image[:, kept].float() + offset - low) / (high - low)).clamp(0, 1)
    result = (scaled - mean) / std
    return result if valid is None else torch.where(valid[:, None], result, 0)
