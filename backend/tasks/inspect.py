"""What rasters are: grid, bands, sensor, units, dates, doubts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backend.geo.env import gdal_environment
from backend.protocol.jobs import InputSpec
from backend.sensors.inspect import inspect as look_at


def inspect(paths: Sequence[str], told: InputSpec | None = None) -> dict[str, Any]:
    """The inspection of one input, which may be several files, as JSON values; `summary` says it in lines for people.

    Args:
        paths: GDAL names or folders.
        told: what the user already says about it; None for nothing.

    Raises:
        SourceError: when it cannot be opened.
    """
    with gdal_environment():
        found = look_at(tuple(paths), told)
        return {**found.to_dict(), "summary": list(found.lines())}
