"""A threshold on a raster of one measurement: Otsu's, a percentile or a given number, and the raster that it makes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import numpy as np
import rasterio
from rasterio.io import DatasetReader
from rasterio.windows import Window

from backend.geo.raster_xml import RasterProfile
from backend.geo.source import open_raster
from backend.geo.writer import library_error
from backend.protocol.errors import ParameterError

# Steps of the histogram over the range that occurs: a thousandth of what a threshold on noisy measurements can mean.
BINS = 4096
_BLOCK = 2048


def parse_threshold(text: str) -> tuple[str, float]:
    """What is meant by "otsu", "percentile:95" or a number: the name of the rule and its number.

    Raises:
        ParameterError: none of these.
    """
    name, _, number = text.strip().lower().partition(":")
    if name == "otsu" and not number:
        return "otsu", 0.0
    try:
        value = float(number if name == "percentile" else text)
    except ValueError:
        value = float("nan")
    if name == "percentile" and 0 < value < 100:
        return "percentile", value
    if name != "percentile" and np.isfinite(value):
        return "value", value
    raise ParameterError(
        f'"{text}" is no threshold', "", "write otsu, a percentile between 0 and 100 as in percentile:95, or a number"
    )


def find_threshold(path: str | os.PathLike[str], rule: tuple[str, float], check: Callable[[], None]) -> float:
    """The threshold on the first band of a raster of floating-point numbers, NaN being no data.

    Args:
        rule: see `parse_threshold`.
        check: called between blocks; may raise.

    Returns:
        the threshold; NaN when there is no data, infinity for Otsu's where all numbers are the same.

    Raises:
        SourceError: when the raster cannot be opened.
    """
    name, number = rule
    if name == "value":
        return number
    with open_raster(os.fspath(path)) as dataset:
        low, high = np.inf, -np.inf
        for values in _valid(dataset, check):
            low, high = min(low, float(values.min())), max(high, float(values.max()))
        if low > high:
            return float("nan")
        if low == high:
            return float("inf") if name == "otsu" else low
        counts = np.zeros(BINS, np.int64)
        for values in _valid(dataset, check):
            counts += np.histogram(values, BINS, (low, high))[0]
    edges = np.linspace(low, high, BINS + 1)
    return otsu(counts, edges) if name == "otsu" else _percentile(counts, edges, number)


def otsu(counts: np.ndarray, edges: np.ndarray) -> float:
    """The number that separates a histogram into two groups with the largest variance between them (Otsu 1979).

    Args:
        counts: (bins,).
        edges: (bins + 1,), rising.

    Returns:
        an edge; of several that are equally good, as over a gap, the middle one.
    """
    centres = (edges[:-1] + edges[1:]) / 2
    weight = np.cumsum(counts)[:-1].astype(float)
    total, moment = float(counts.sum()), np.cumsum(counts * centres)
    rest = total - weight
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = moment[:-1] / weight - (moment[-1] - moment[:-1]) / rest
        between = np.where((weight > 0) & (rest > 0), weight * rest * gap**2, 0.0)
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(edges[1:-1][best[len(best) // 2]])


def write_above(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    threshold: float,
    profile: RasterProfile,
    check: Callable[[], None],
) -> None:
    """Write a raster that is 1 from the threshold on, 0 below it and the profile's nodata where the source is NaN.

    Args:
        source: raster of floating-point numbers; the first band counts.
        profile: of one uint8 band.
        check: called between blocks; may raise.

    Raises:
        OutputError: when the file cannot be written.
    """
    with open_raster(os.fspath(source)) as dataset:
        options = {
            "driver": "GTiff", "width": dataset.width, "height": dataset.height, "count": 1, "dtype": "uint8",
            "crs": dataset.crs, "transform": dataset.transform, "nodata": profile.nodata, "tiled": True,
            "compress": "deflate", "BIGTIFF": "IF_SAFER",
        }  # fmt: skip
        try:
            with rasterio.open(path, "w", **options) as target:
                for window in _windows(dataset):
                    check()
                    values = dataset.read(1, window=window)
                    above = (values >= threshold).astype(np.uint8)
                    above[np.isnan(values)] = profile.nodata
                    target.write(above, 1, window=window)
        except rasterio.errors.RasterioError as error:
            raise library_error(path, str(error)) from error


def _percentile(counts: np.ndarray, edges: np.ndarray, percent: float) -> float:
    """The first edge that this share of the numbers lies below."""
    below = np.cumsum(counts) / counts.sum()
    return float(edges[1:][np.searchsorted(below, percent / 100)])


def _valid(dataset: DatasetReader, check: Callable[[], None]) -> Iterator[np.ndarray]:
    """The numbers that are data, block by block; blocks without any are left out."""
    for window in _windows(dataset):
        check()
        values = dataset.read(1, window=window)
        values = values[~np.isnan(values)]
        if values.size:
            yield values


def _windows(dataset: DatasetReader) -> Iterator[Window]:
    for row in range(0, dataset.height, _BLOCK):
        for col in range(0, dataset.width, _BLOCK):
            yield Window(col, row, min(_BLOCK, dataset.width - col), min(_BLOCK, dataset.height - row))
