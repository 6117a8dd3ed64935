"""STAC items: the structure that the specification asks for, checked without a network."""

from __future__ import annotations

import json
import re
from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS

from backend.geo.grid import Grid
from backend.geo.stac import COG, GEOPACKAGE, JSON, Asset, ModelLink, Origin, footprint_wgs84, stac_item
from backend.geo.writer import Legend, LegendClass, RasterProfile
from backend.protocol.errors import GridError, ParameterError

GRID = Grid(CRS.from_epsg(32631), Affine(10, 0, 400_000, 0, -10, 5_000_000), 300, 200)
LEGEND = Legend(
    (
        LegendClass(0, "Open water", (0, 0, 255)),
        LegendClass(1, "Forêt", (0, 128, 0)),
        LegendClass(2, "forêt", (0, 129, 0)),
        LegendClass(7, "水", (1, 2, 3)),
    )
)
ASSETS = {
    "classes": Asset("map.tif", "Classes", COG, profile=RasterProfile("uint8", nodata=255, legend=LEGEND)),
    "confidence": Asset(
        "confidence.tif",
        "Confidence",
        COG,
        profile=RasterProfile("uint8", nodata=255, scale=0.004, descriptions=("confidence",)),
    ),
    "probabilities": Asset(
        "probabilities.tif",
        "Probabilities",
        COG,
        profile=RasterProfile("float32", 2, nodata=float("nan"), descriptions=("water", "forest")),
    ),
    "polygons": Asset("map.gpkg", "Polygons", GEOPACKAGE, legend=LEGEND),
    "run": Asset("map.run.json", "Run description", JSON, ("metadata",)),
}
ORIGIN = Origin(
    [date(2020, 6, 21)], {"earthprism": "0.1.0"}, "Made by a model", [ModelLink("https://example.org/m.json", "water")]
)

TIME = re.compile(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z$")
DATA_TYPES = {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"}


def check(item: dict[str, Any]) -> None:
    """The requirements of Item 1.1.0 and of the four extensions on what is present."""
    assert json.loads(json.dumps(item, allow_nan=False)) == item
    assert set(item) == {
        "type",
        "stac_version",
        "stac_extensions",
        "id",
        "geometry",
        "bbox",
        "properties",
        "links",
        "assets",
    }
    assert (item["type"], item["stac_version"]) == ("Feature", "1.1.0")
    assert len(set(item["stac_extensions"])) == len(item["stac_extensions"])
    assert all(
        re.match(r"^https://stac-extensions\.github\.io/[a-z]+/v\d+\.\d+\.\d+/schema\.json$", url)
        for url in item["stac_extensions"]
    )
    geometry = shapely.geometry.shape(item["geometry"])
    assert geometry.is_valid and geometry.exterior.is_ccw
    np.testing.assert_allclose(item["bbox"], geometry.bounds)
    properties = item["properties"]
    if properties["datetime"] is None:
        assert TIME.match(properties["start_datetime"]) and TIME.match(properties["end_datetime"])
    else:
        assert TIME.match(properties["datetime"])
    assert properties["proj:code"] is None or re.match(r"^[A-Z]+:\d+$", properties["proj:code"])
    assert (
        len(properties["proj:shape"]) == 2
        and len(properties["proj:transform"]) == 6
        and len(properties["proj:bbox"]) == 4
    )
    for link in item["links"]:
        assert {"rel", "href"} <= set(link)
    for asset in item["assets"].values():
        assert asset["href"] and asset["type"] and asset["roles"]
        assert asset.get("data_type", "uint8") in DATA_TYPES
        names = [band["name"] for band in asset.get("bands", [])]
        assert len(set(names)) == len(names)
        classes = asset.get("classification:classes", [])
        assert len({entry["name"] for entry in classes}) == len(classes)
        for entry in classes:
            assert re.match(r"^[0-9A-Za-z_-]+$", entry["name"]) and isinstance(entry["value"], int)
            assert re.match(r"^[0-9A-F]{6}$", entry["color_hint"])
    prefixes = {
        key.split(":")[0]
        for part in (properties, *item["assets"].values(), *item["links"])
        for key in part
        if ":" in key
    }
    declared = {"proj" if "projection" in url else url.split("/")[3] for url in item["stac_extensions"]}
    assert prefixes <= declared


def test_item_of_a_whole_result() -> None:
    item = stac_item("run-1", GRID, ASSETS, ORIGIN)
    check(item)
    assert item == stac_item("run-1", GRID, ASSETS, ORIGIN)
    assert item["properties"]["datetime"] == "2020-06-21T00:00:00Z"
    assert item["properties"]["proj:code"] == "EPSG:32631"
    assert item["properties"]["proj:shape"] == [200, 300]
    assert item["properties"]["proj:transform"] == [10, 0, 400_000, 0, -10, 5_000_000]
    classes = item["assets"]["classes"]
    assert (classes["nodata"], classes["raster:spatial_resolution"]) == (255, 10)
    assert [entry["name"] for entry in classes["classification:classes"]] == ["open-water", "foret", "foret-2", "7"]
    assert item["assets"]["polygons"]["classification:classes"] == classes["classification:classes"]
    assert item["assets"]["confidence"]["raster:scale"] == 0.004
    assert item["assets"]["probabilities"]["nodata"] == "nan"
    assert [band["name"] for band in item["assets"]["probabilities"]["bands"]] == ["water", "forest"]
    assert item["links"] == [
        {
            "rel": "derived_from",
            "href": "https://example.org/m.json",
            "type": JSON,
            "title": "Model water",
            "mlm:name": "water",
        }
    ]


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ([datetime(2020, 6, 21, 12, 30, tzinfo=timezone(timedelta(hours=2)))], ("2020-06-21T10:30:00Z", None, None)),
        (["2020-06-21", "2020-06-21"], ("2020-06-21T00:00:00Z", None, None)),
        (["2020-09-14", date(2020, 6, 21)], (None, "2020-06-21T00:00:00Z", "2020-09-14T23:59:59Z")),
        (
            ["2020-06-21T10:00:00Z", "2020-06-22T10:00:00.500"],
            (None, "2020-06-21T10:00:00Z", "2020-06-22T10:00:00.500000Z"),
        ),
    ],
)
def test_dates(dates: list[Any], expected: tuple[str | None, ...]) -> None:
    item = stac_item("run-1", GRID, ASSETS, Origin(dates))
    check(item)
    found = item["properties"]
    assert (found["datetime"], found.get("start_datetime"), found.get("end_datetime")) == expected


def test_without_dates_the_time_of_the_run_stands_in() -> None:
    made = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    item = stac_item("run-1", GRID, ASSETS, Origin([], made=made))
    check(item)
    assert item["properties"]["datetime"] == item["properties"]["created"] == "2026-01-02T03:04:05Z"
    with pytest.raises(ParameterError, match="no date"):
        stac_item("run-1", GRID, ASSETS, Origin([]))
    with pytest.raises(ParameterError, match="not a date"):
        stac_item("run-1", GRID, ASSETS, Origin(["last summer"]))


def test_crs_without_a_code_is_written_out() -> None:
    sinusoidal = CRS.from_proj4("+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs")
    item = stac_item(
        "run-1", Grid(sinusoidal, Affine(250, 0, -5_900_000, 0, -250, -1_300_000), 255, 147), ASSETS, ORIGIN
    )
    check(item)
    assert item["properties"]["proj:code"] is None
    assert CRS.from_wkt(item["properties"]["proj:wkt2"]) == sinusoidal


def test_footprint_follows_the_projection() -> None:
    wide = Grid(CRS.from_epsg(32631), Affine(1000, 0, 200_000, 0, -1000, 5_500_000), 600, 100)
    outline = footprint_wgs84(wide)
    assert shapely.get_num_coordinates(outline) > 40
    # The upper edge bulges northwards from its corners to the central meridian.
    corner = [y for x, y in outline.exterior.coords if abs(x - outline.bounds[0]) < 0.2]
    assert outline.bounds[3] - max(corner) > 0.05
    half = footprint_wgs84(wide, shapely.box(200_000, 5_400_000, 500_000, 5_500_000))
    assert half.area == pytest.approx(outline.area / 2, rel=0.01)


def test_longitudes_from_0_to_360() -> None:
    west = Grid(CRS.from_epsg(4326), Affine(0.1, 0, 200, 0, -0.1, 10), 100, 100)
    assert footprint_wgs84(west).bounds == pytest.approx((-160, 0, -150, 10))


@pytest.mark.parametrize(
    "grid",
    [
        Grid(CRS.from_epsg(32601), Affine(1000, 0, 100_000, 0, -1000, 7_000_000), 300, 300),
        Grid(CRS.from_epsg(4326), Affine(0.1, 0, 175, 0, -0.1, 10), 100, 100),
        Grid(CRS.from_epsg(3031), Affine(1000, 0, -200_000, 0, -1000, 200_000), 400, 400),
    ],
)
def test_antimeridian_and_poles_are_refused(grid: Grid) -> None:
    with pytest.raises(GridError, match="antimeridian or holds a pole"):
        stac_item("run-1", grid, ASSETS, ORIGIN)
