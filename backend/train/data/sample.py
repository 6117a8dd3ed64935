"""A place as training sees it: any number of modalities and dates over one rectangle of ground."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

MODALITIES = ("hr", "ms", "sar")


@dataclass(frozen=True)
class Place:
    """A rectangle on the ground.

    Attributes:
        crs: as "EPSG:32631", or WKT; empty where the images have no place.
        bounds: left, bottom, right, top in units of the CRS; pixels of the largest image where there is no CRS.
    """

    crs: str
    bounds: tuple[float, float, float, float]


@dataclass(frozen=True)
class Series:
    """One sensor's images of a place, all on one grid that fills the place; rows go down.

    Attributes:
        sensor: name in the catalogue of sensors.
        bands: band names of the catalogue, in channel order.
        pixels: T x C x H x W in physical units (reflectance, decibel; 8-bit pictures as 0 to 255), 0 where invalid.
            Stored as they came, float32 once read for training.
        valid: T x H x W bool.
        days: T, ISO dates such as "2019-07-06", "" where unknown.
    """

    sensor: str
    bands: tuple[str, ...]
    pixels: np.ndarray
    valid: np.ndarray
    days: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """One training sample.

    Attributes:
        key: unique in its data set; what is drawn for a sample depends on the seed, the step and this alone.
        place: ground that all images cover.
        series: by modality, "hr", "ms", "sar", or the name of a sensor for SMARTIES; any of them may lack.
        classes: K x G x G bool, rasterised map classes over the place, several may hold at once; None where unknown.
        class_names: of the K.
        labels: what is known about the sample, by name, such as a scene label or the split's group.
    """

    key: str
    place: Place
    series: Mapping[str, Series]
    classes: np.ndarray | None = None
    class_names: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
