"""8-bit pictures, with a place on Earth or without."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from backend.geo.source import describe, open_raster
from backend.protocol.errors import SourceError
from backend.train.data.sample import Place, Sample, Series
from backend.train.data.scene import place_of

COLOURS = ("red", "green", "blue")
AERIAL = "aerial-rgb"


def picture(key: str, path: Path, labels: Mapping[str, str] | None = None, sensor: str = AERIAL) -> Sample:
    """A sample of one picture, its first three bands as red, green and blue.

    Raises:
        SourceError: it cannot be opened, or is no 8-bit picture of three colours.
    """
    pixels, valid = read_picture(path)
    grid = describe(path).grid
    series = Series(sensor, COLOURS, pixels[None], valid[None], ("",))
    return Sample(key, place_of(grid) if grid else _of_pixels(pixels), {"hr": series}, labels=labels or {})


def read_picture(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Colours 3 x H x W uint8, and validity H x W.

    Raises:
        SourceError: see `picture`.
    """
    with open_raster(str(path)) as dataset:
        if dataset.count < len(COLOURS) or set(dataset.dtypes) != {"uint8"}:
            raise SourceError(
                f'"{path}" is no picture', f"it has {dataset.count} bands of {dataset.dtypes[0]}", "leave it out"
            )
        return dataset.read([1, 2, 3]), dataset.dataset_mask() > 0


def _of_pixels(pixels: np.ndarray) -> Place:
    """The place of a picture that has none on Earth."""
    return Place("", (0.0, 0.0, float(pixels.shape[2]), float(pixels.shape[1])))
