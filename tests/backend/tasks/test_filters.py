"""Which pixels are wanted: areas of interest and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.geo.area import Area
from backend.geo.grid import Window
from backend.protocol.errors import GridError
from backend.protocol.jobs import MaskSpec
from backend.tasks.filters import open_filters
from backend.tasks.place import Place
from tests.rasters import LEFT, TOP, UTM33, utm_grid, write_raster

SCENE = utm_grid(100, 80)
WHOLE = Place(SCENE, SCENE.window, None)


def test_an_extent_keeps_what_lies_inside() -> None:
    area = Area.from_extent((LEFT + 200, TOP - 400, LEFT + 400, TOP - 200), UTM33, SCENE)
    with open_filters(Place(SCENE, area.window, None, limits=(area,)), None) as (inside,):
        assert inside.wanted(Window(20, 20, 20, 20)).all() and not inside.wanted(Window(0, 0, 10, 10)).any()
        assert not inside.touches(Window(60, 60, 10, 10))


def test_a_mask_forbids_its_values_and_must_overlap(tmp_path: Path) -> None:
    clouds = np.zeros((1, 80, 100), np.uint8)
    clouds[0, :10], clouds[0, 10:20] = 3, 8
    path = write_raster(tmp_path / "clouds.tif", clouds, utm_grid(100, 80))
    for values, first_wanted in (((), 20), ((3,), 10)):
        with open_filters(WHOLE, MaskSpec(path, values)) as (mask,):
            wanted = mask.wanted(Window(0, 0, 100, 80))
            assert wanted[first_wanted:].all() and not wanted[:first_wanted].any()
    far = write_raster(tmp_path / "far.tif", clouds[:, :10, :10], utm_grid(10, 10, left=LEFT + 90_000))
    with pytest.raises(GridError, match="does not overlap the scene"), open_filters(WHOLE, MaskSpec(far)):
        pass
