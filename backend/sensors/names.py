"""Band names at the end of file names."""

from __future__ import annotations

import re

from backend.sensors.catalogue import catalogue

_RESOLUTION = re.compile(r"[_-](10|20|30|60)m$", re.IGNORECASE)
_DATE = re.compile(r"[_.-][0-9]{4}[_.-]?[0-9]{2}[_.-]?[0-9]{2}(T[0-9]+)?$")


def is_band_name(label: str) -> bool:
    """True when some sensor of the catalogue has a band of this name."""
    return any(sensor.band(label) for sensor in catalogue().values())


def band_in_name(stem: str) -> str:
    """The band that the end of a file name states, as in "T31UFS_20220812T105031_B02_10m"; "" when it states none.

    A resolution or a date may follow the band.
    """
    words = re.split(r"[_.\-\s]+", _DATE.sub("", _RESOLUTION.sub("", stem)))
    for label in ("_".join(words[-2:]), words[-1]):
        if is_band_name(label):
            return label
    return ""
