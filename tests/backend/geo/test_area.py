"""Area of interest: right pixels, the same however windows are cut, and clear words for files that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.warp import transform

from backend.geo import area as module
from backend.geo.area import Area
from backend.geo.grid import WGS84, Grid, Window
from backend.protocol.errors import GridError, ParameterError, SourceError

UTM = CRS.from_epsg(32631)
GRID = Grid(UTM, Affine(10, 0, 400_000, 0, -10, 5_000_000), 200, 150)


def write(
    path: Path,
    geometries: list[shapely.Geometry],
    kind: str = "Polygon",
    crs: str | None = "EPSG:32631",
    driver: str = "GPKG",
    layer: str = "area",
    append: bool = False,
) -> Path:
    pyogrio.raw.write(
        path,
        geometry=shapely.to_wkb(np.array(geometries)),
        field_data=[np.zeros(len(geometries))],
        fields=["number"],
        driver=driver,
        layer=layer,
        geometry_type=kind,
        crs=crs,
        append=append,
    )
    return path


def pixel_box(left: float, top: float, right: float, bottom: float) -> shapely.Polygon:
    """A box given in pixels of the grid."""
    (x0, y0), (x1, y1) = GRID.transform @ (left, top), GRID.transform @ (right, bottom)
    return shapely.box(x0, y1, x1, y0)


def test_pixels_are_those_with_their_centre_inside(tmp_path: Path) -> None:
    holed = pixel_box(10, 20, 60, 80).difference(pixel_box(20, 30, 40, 50))
    area = Area.from_file(write(tmp_path / "area.gpkg", [holed]), GRID)
    expected = np.zeros(GRID.shape, bool)
    expected[20:80, 10:60] = True
    expected[30:50, 20:40] = False
    assert area.window == Window(10, 20, 50, 60)
    np.testing.assert_array_equal(area.mask(GRID.window), expected)


@st.composite
def shapes(draw: st.DrawFn) -> list[shapely.Geometry]:
    """Stars, slivers and boxes, some over the border, some with corners and edges on pixel centres."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    found = []
    for _ in range(draw(st.integers(1, 4))):
        angles = np.sort(generator.uniform(0, 2 * np.pi, generator.integers(3, 12)))
        radius = generator.uniform(0.02, generator.choice([0.5, 5, 40]), len(angles))
        points = generator.uniform(0, 60, 2) + np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1)
        found.append(shapely.Polygon(np.round(points * 2) / 2 if generator.random() < 0.5 else points))
    return found


@settings(max_examples=60, deadline=None)
@given(shapes(), st.integers(0, 2**32))
def test_mask_does_not_depend_on_the_window(polygons: list[shapely.Geometry], seed: int) -> None:
    grid = Grid(UTM, Affine.identity(), 60, 50)
    parts = module._simple_polygons(shapely.intersection(shapely.make_valid(polygons), shapely.box(0, 0, 60, 50)))
    if len(parts) == 0:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", 16)
        area = Area(parts, grid)
        whole = area.mask(grid.window)
        generator = np.random.default_rng(seed)
        for _ in range(10):
            col, row = generator.integers(-5, 60, 2).tolist()
            window = Window(col, row, *generator.integers(1, 40, 2).tolist())
            expected = np.zeros((window.height, window.width), bool)
            common = window.intersect(grid.window)
            expected[common.moved(-col, -row).slices()] = whole[common.slices()]
            np.testing.assert_array_equal(Area(parts, grid).mask(window), expected)
            assert area.touches(window) or not expected.any()
    outside = np.ones(grid.shape, bool)
    outside[area.window.slices()] = False
    assert not whole[outside].any()
    # No polygon vanishes.
    assert whole.any()
    for part in parts:
        assert Area(np.array([part]), grid).mask(grid.window).any()


@pytest.mark.parametrize(
    "shape",
    [
        pixel_box(10.2, 5, 10.21, 60),
        shapely.LineString([GRID.transform @ (3.3, 3.1), GRID.transform @ (120.7, 90.4)]).buffer(0.01),
        pixel_box(44.1, 44.1, 44.2, 44.2),
        pixel_box(-30, 20, 0.01, 30),
    ],
)
def test_thin_polygons_do_not_vanish(tmp_path: Path, shape: shapely.Geometry) -> None:
    area = Area.from_file(write(tmp_path / "area.gpkg", [shape]), GRID)
    mask = area.mask(GRID.window)
    length = max(np.ptp(np.nonzero(mask)[0]), np.ptp(np.nonzero(mask)[1])) + 1
    low_x, low_y, high_x, high_y = shapely.intersection(shape, shapely.box(*GRID.bounds)).bounds
    assert length >= max(high_x - low_x, high_y - low_y) / 10
    assert mask.sum() >= length


@pytest.mark.parametrize(("driver", "suffix"), [("GPKG", ".gpkg"), ("GeoJSON", ".geojson"), ("ESRI Shapefile", ".shp")])
def test_degrees_on_a_grid_in_metres(tmp_path: Path, driver: str, suffix: str) -> None:
    box = shapely.segmentize(pixel_box(10, 20, 60, 80), 50)
    lon, lat = transform(UTM, WGS84, *shapely.get_coordinates(box).T)
    polygon = shapely.set_coordinates(box, np.stack([lon, lat], 1))
    area = Area.from_file(write(tmp_path / f"area{suffix}", [polygon], crs="EPSG:4326", driver=driver), GRID)
    mask = area.mask(GRID.window)
    expected = np.zeros(GRID.shape, bool)
    expected[20:80, 10:60] = True
    np.testing.assert_array_equal(mask, expected)


def test_long_edges_are_bent_with_the_projection() -> None:
    """A parallel is no straight line in UTM: halfway along 4 degrees it lies 1.4 km off the chord."""
    grid = Grid(UTM, Affine(100, 0, 340_000, 0, -100, 5_270_000), 3200, 700)
    area = Area.from_extent((1, 47, 5, 47.5), WGS84, grid)
    mask = area.mask(grid.window)
    rows, cols = np.nonzero(mask)
    xs, ys = grid.transform @ (cols + 0.5, rows + 0.5)
    lon, lat = (np.asarray(v) for v in transform(UTM, WGS84, xs, ys))
    inside = (lon > 1) & (lon < 5) & (lat > 47) & (lat < 47.5)
    assert inside.mean() > 0.99999
    xs, ys = grid.transform @ np.meshgrid(np.arange(3200) + 0.5, np.arange(700) + 0.5)
    lon, lat = (np.asarray(v) for v in transform(UTM, WGS84, xs.ravel(), ys.ravel()))
    assert mask.sum() == pytest.approx(((lon > 1) & (lon < 5) & (lat > 47) & (lat < 47.5)).sum(), rel=1e-5)


def test_extent_in_the_grids_own_crs() -> None:
    area = Area.from_extent((400_100, 4_999_000, 400_200, 4_999_500), UTM, GRID)
    assert area.window == Window(10, 50, 10, 50)
    assert area.mask(area.window).all()
    with pytest.raises(ParameterError, match="empty"):
        Area.from_extent((400_200, 4_999_000, 400_100, 4_999_500), UTM, GRID)


def test_rotated_grid(tmp_path: Path) -> None:
    grid = Grid(UTM, GRID.transform @ Affine.rotation(30), 200, 150)
    corners = [grid.transform @ point for point in ((10, 20), (60, 20), (60, 80), (10, 80))]
    area = Area.from_file(write(tmp_path / "area.gpkg", [shapely.Polygon(corners)]), grid)
    assert area.mask(grid.window).sum() == 50 * 60
    assert area.mask(Window(10, 20, 50, 60)).all()


def test_first_layer_with_polygons_or_the_one_named(tmp_path: Path) -> None:
    path = write(tmp_path / "area.gpkg", [shapely.Point(400_500, 4_999_500)], "Point", layer="wells")
    write(path, [pixel_box(10, 20, 60, 80)], layer="fields", append=True)
    write(path, [pixel_box(0, 0, 5, 5)], layer="yards", append=True)
    assert Area.from_file(path, GRID).window == Window(10, 20, 50, 60)
    assert Area.from_file(f"{path}|layername=yards", GRID).window == Window(0, 0, 5, 5)
    with pytest.raises(SourceError, match="wells, fields, yards"):
        Area.from_file(f"{path}|layername=none", GRID)
    with pytest.raises(SourceError, match="Point"):
        Area.from_file(f"{path}|layername=wells", GRID)


def test_crossed_outlines_are_repaired_and_other_geometries_left_out(tmp_path: Path) -> None:
    bow_tie = shapely.Polygon([GRID.transform @ p for p in ((10, 10), (50, 50), (50, 10), (10, 50))])
    collection = shapely.GeometryCollection([shapely.Point(400_500, 4_999_500), pixel_box(100, 100, 110, 110)])
    path = write(tmp_path / "area.gpkg", [bow_tie, collection], "Unknown")
    mask = Area.from_file(path, GRID).mask(GRID.window)
    assert mask.sum() == pytest.approx(2 * 400 + 100, abs=40)
    assert mask[105, 105] and mask[30, 15] and not mask[15, 30]


def test_many_parts_and_height_coordinates(tmp_path: Path) -> None:
    parts = shapely.MultiPolygon([pixel_box(0, 0, 5, 5), pixel_box(50, 50, 60, 60)])
    path = write(tmp_path / "area.gpkg", [shapely.force_3d(parts, 7.0)], "MultiPolygon Z")
    area = Area.from_file(path, GRID)
    assert (area.mask(GRID.window).sum(), area.window) == (125, Window(0, 0, 60, 60))
    assert area.touches(Window(3, 3, 5, 5)) and not area.touches(Window(20, 20, 10, 10))


@pytest.mark.parametrize(
    ("geometry", "kind", "words"),
    [
        (shapely.Point(400_500, 4_999_500), "Point", "has no polygons"),
        (shapely.LineString([(400_500, 4_999_500), (400_600, 4_999_500)]), "LineString", "has no polygons"),
        (shapely.Polygon(), "Polygon", "has no polygons"),
        (shapely.Polygon([(400_000, 5e6), (400_100, 5e6), (400_200, 5e6)]), "Polygon", "has no polygons"),
        (shapely.Polygon([(400_000, 5e6), (np.inf, 5e6), (400_200, 4.9e6)]), "Polygon", "damaged"),
    ],
)
def test_what_is_no_polygon_is_refused(tmp_path: Path, geometry: shapely.Geometry, kind: str, words: str) -> None:
    path = write(tmp_path / "area.gpkg", [geometry], kind)
    with pytest.raises(SourceError, match=words):
        Area.from_file(path, GRID)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        Area.from_file(tmp_path / "none.gpkg", GRID)
    (tmp_path / "text.gpkg").write_text("no database")
    with pytest.raises(SourceError, match="cannot be read"):
        Area.from_file(tmp_path / "text.gpkg", GRID)
    write(tmp_path / "empty.gpkg", [])
    with pytest.raises(SourceError, match="has no polygons"):
        Area.from_file(tmp_path / "empty.gpkg", GRID)
    (tmp_path / "empty.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    with pytest.raises(SourceError, match="has no polygons"):
        Area.from_file(tmp_path / "empty.geojson", GRID)
    write(tmp_path / "place.shp", [pixel_box(0, 0, 5, 5)], crs=None, driver="ESRI Shapefile")
    with pytest.raises(SourceError, match="no CRS"):
        Area.from_file(tmp_path / "place.shp", GRID)


@pytest.mark.parametrize(
    ("crs", "bounds", "words"),
    [
        (
            "EPSG:32631",
            (500_000, 4_000_000, 500_100, 4_000_100),
            "500000, 4000000, 500100, 4000100.*400000, 4998500, 402000",
        ),
        ("EPSG:4326", (10, 50, 11, 51), "10, 50, 11, 51.*1.7"),
    ],
)
def test_area_beside_the_scene(tmp_path: Path, crs: str, bounds: tuple[float, ...], words: str) -> None:
    path = write(tmp_path / "area.gpkg", [shapely.box(*bounds)], crs=crs)
    with pytest.raises(GridError, match=f"outside the scene.*{words}"):
        Area.from_file(path, GRID)
