"""Labels of people on the pixels of a grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely

from backend.geo.area import Area
from backend.geo.labels import Labels, read_labels
from backend.protocol.errors import SourceError
from tests.rasters import LEFT, TOP, UTM33, utm_grid

GRID = utm_grid(20, 20)


def labels(*shapes: shapely.Geometry) -> Labels:
    return Labels("labels.gpkg", np.array(shapes), tuple(str(number) for number in range(len(shapes))), UTM33)


def at(col: float, row: float) -> tuple[float, float]:
    return LEFT + 10 * col, TOP - 10 * row


def test_polygons_name_the_pixels_whose_centres_they_hold_and_thin_things_what_they_touch() -> None:
    box = shapely.box(*at(2, 4), *at(5, 2))
    sliver = shapely.box(*at(7.1, 3.2), *at(7.2, 3.1))
    line = shapely.LineString([at(10.5, 6.5), at(12.5, 6.5)])
    point, outside = shapely.Point(at(15.9, 0.1)), shapely.Point(at(-3, 5))
    found = {
        number: sorted(zip(rows.tolist(), cols.tolist(), strict=True))
        for number, rows, cols in labels(box, sliver, line, point, outside).pixels(GRID)
    }
    assert found == {
        0: [(row, col) for row in (2, 3) for col in (2, 3, 4)],
        1: [(3, 7)],
        2: [(6, 10), (6, 11), (6, 12)],
        3: [(0, 15)],
        4: [],
    }


def test_as_an_area_of_interest_they_cover_the_pixels_that_they_name(tmp_path: Path) -> None:
    made = labels(shapely.box(*at(2, 4), *at(5, 2)), shapely.Point(at(15.5, 0.5)))
    made.write_area(tmp_path / "area.gpkg")
    mask = Area.from_file(tmp_path / "area.gpkg", GRID).mask(GRID.window)
    named = np.zeros_like(mask)
    for _, rows, cols in made.pixels(GRID):
        named[rows, cols] = True
    assert (mask >= named).all() and mask.sum() == 7


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (np.array([1, 2, 2], np.int32), ("1", "2", "2")),
        (np.array([1.0, 2.5, np.nan]), ("1", "2.5")),
        (np.array([" oak", "", None], object), ("oak",)),
    ],
)
def test_classes_may_be_numbers_or_text(tmp_path: Path, values: np.ndarray, names: tuple[str, ...]) -> None:
    points = shapely.to_wkb(shapely.points([at(1, 1), at(2, 2), at(3, 3)]))
    pyogrio.raw.write(
        tmp_path / "l.gpkg", points, field_data=[values], fields=["kind"], geometry_type="Point", crs="EPSG:32633",
        driver="GPKG",
    )  # fmt: skip
    found = read_labels(str(tmp_path / "l.gpkg"), "kind")
    assert found.names == names and len(found.shapes) == len(names)


def test_labels_without_a_crs_are_refused(tmp_path: Path) -> None:
    pyogrio.raw.write(
        tmp_path / "l.geojson", shapely.to_wkb(shapely.points([at(1, 1)])), field_data=[np.array(["a"], object)],
        fields=["kind"], geometry_type="Point", crs=None, driver="ESRI Shapefile",
    )  # fmt: skip
    with pytest.raises(SourceError, match="no CRS"):
        read_labels(str(tmp_path / "l.geojson"), "kind")
