"""What rasters are: grid, bands, sensor, units, dates, doubts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backend.geo.env import gdal_environment
from backend.sensors.inspect import inspect as look_at


def inspect(paths: Sequence[str]) -> dict[str, Any]:
    """The inspection of one input, which may be several files, as JSON values.

    Raises:
        SourceError: when it cannot be opened.
    """
    with gdal_environment():
        return look_at(tuple(paths)).to_dict()
