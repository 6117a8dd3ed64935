"""The share of a raster that holds data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.geo.validity import valid_share
from tests.rasters import source_of, utm_grid, write_raster


@pytest.mark.parametrize("size", [100, 2000])
def test_nodata_does_not_count(tmp_path: Path, size: int) -> None:
    values = np.ones((1, size, size), "uint16")
    values[:, : size // 4] = 0
    path = write_raster(tmp_path / "quarter.tif", values, utm_grid(size, size), nodata=0)
    assert valid_share(source_of(path)) == pytest.approx(0.75, abs=0.01)
    whole = write_raster(tmp_path / "whole.tif", values, utm_grid(size, size))
    assert valid_share(source_of(whole)) == pytest.approx(1.0, abs=0.01)
