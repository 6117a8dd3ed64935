"""Thresholds on measurements: what separates two groups, percentiles, and the raster that is made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.geo.raster_xml import RasterProfile
from backend.geo.source import open_raster
from backend.geo.threshold import find_threshold, otsu, parse_threshold, write_above
from backend.protocol.errors import ParameterError
from tests.rasters import utm_grid, write_raster

WIDTH, HEIGHT = 2100, 60  # more than one block


@pytest.fixture
def values() -> np.ndarray:
    """Two groups of numbers, 0.1 +- 0.02 and, of a tenth of the pixels, 0.9 +- 0.05; a corner without data."""
    rng = np.random.default_rng(0)
    found = rng.normal(0.1, 0.02, (HEIGHT, WIDTH))
    rare = rng.uniform(size=found.shape) < 0.1
    found[rare] = rng.normal(0.9, 0.05, rare.sum())
    found[:10, :10] = np.nan
    return found.astype(np.float32)


@pytest.fixture
def raster(values: np.ndarray, tmp_path: Path) -> str:
    return write_raster(tmp_path / "d.tif", values[None], utm_grid(WIDTH, HEIGHT), nodata=np.nan)


def variance_between(values: np.ndarray, threshold: float) -> float:
    """Otsu 1979, eq. 14: w0 w1 (m1 - m0)^2."""
    low, high = values[values < threshold], values[values >= threshold]
    return len(low) * len(high) * (low.mean() - high.mean()) ** 2 if len(low) and len(high) else 0.0


def test_otsu_separates_best(values: np.ndarray, raster: str) -> None:
    found = find_threshold(raster, ("otsu", 0.0), lambda: None)
    known = values[~np.isnan(values)].astype(float)
    best = max(variance_between(known, candidate) for candidate in np.linspace(known.min(), known.max(), 400))
    assert variance_between(known, found) >= best * 0.9999
    assert 0.2 < found < 0.7


def test_otsu_takes_the_middle_of_a_gap() -> None:
    assert otsu(np.array([5, 0, 0, 0, 5]), np.linspace(0, 1, 6)) == pytest.approx(0.6, abs=0.21)
    assert otsu(np.array([9, 1]), np.array([0.0, 1.0, 2.0])) == 1.0


@pytest.mark.parametrize("percent", [1, 50, 95, 99.9])
def test_a_percentile(values: np.ndarray, raster: str, percent: float) -> None:
    found = find_threshold(raster, ("percentile", percent), lambda: None)
    step = (np.nanmax(values) - np.nanmin(values)) / 4096
    assert found == pytest.approx(np.nanpercentile(values, percent), abs=2 * float(step))


def test_what_reaches_the_threshold_is_one(values: np.ndarray, raster: str, tmp_path: Path) -> None:
    write_above(raster, tmp_path / "above.tif", 0.5, RasterProfile("uint8", nodata=255), lambda: None)
    with open_raster(str(tmp_path / "above.tif")) as dataset:
        found = dataset.read(1)
        assert dataset.nodata == 255
    np.testing.assert_array_equal(found, np.where(np.isnan(values), 255, values >= 0.5))


@pytest.mark.parametrize(("number", "expected"), [(np.nan, np.nan), (0.25, np.inf)])
def test_where_nothing_can_be_separated_nothing_exceeds(tmp_path: Path, number: float, expected: float) -> None:
    raster = write_raster(tmp_path / "d.tif", np.full((1, 8, 8), number, np.float32), utm_grid(8, 8), nodata=np.nan)
    assert find_threshold(raster, ("otsu", 0.0), lambda: None) == pytest.approx(expected, nan_ok=True)


def test_how_thresholds_are_written() -> None:
    assert parse_threshold(" Otsu") == ("otsu", 0.0) and parse_threshold("percentile:97.5") == ("percentile", 97.5)
    assert parse_threshold("0.3") == ("value", 0.3)
    for text in ("", "otsu:3", "percentile", "percentile:0", "percentile:100", "nan", "inf", "high"):
        with pytest.raises(ParameterError, match="threshold"):
            parse_threshold(text)
