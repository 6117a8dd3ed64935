"""Polygons of class regions: exact, whole across chunk borders, without gaps, independent of the chunks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.features import rasterize

from backend.geo import pieces
from backend.geo.grid import Grid, Window
from backend.geo.regions import label_regions
from backend.geo.vector import LAYER, Polygoniser
from backend.geo.writer import Legend, LegendClass
from backend.protocol.errors import OutputError

NODATA = 255
LEGEND = Legend(
    (LegendClass(0, "water", (0, 0, 255)), LegendClass(1, "forêt", (0, 128, 0)), LegendClass(2, "field", (9, 9, 9)))
)
UTM = CRS.from_epsg(32631)


def grid_of(shape: tuple[int, int], crs: CRS = UTM, transform: Affine | None = None) -> Grid:
    return Grid(crs, transform or Affine(10, 0, 400_000, 0, -10, 5_000_000), shape[1], shape[0])


def polygonise(path: Path, grid: Grid, classes: np.ndarray, windows: list[Window], **options: float) -> int:
    polygoniser = Polygoniser(path, grid, LEGEND, NODATA, **options)
    for window in windows:
        polygoniser.add(window, classes[window.slices()])
    return polygoniser.close()


def read(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Polygons and columns, in a canonical order."""
    meta, _, wkb, columns = pyogrio.raw.read(path, layer=LAYER)
    polygons = shapely.normalize(shapely.from_wkb(wkb))
    order = np.argsort(shapely.to_wkt(polygons, rounding_precision=6)) if len(polygons) else np.zeros(0, int)
    return polygons[order], {name: column[order] for name, column in zip(meta["fields"], columns, strict=True)}


def cuts(draw: st.DrawFn, length: int) -> list[tuple[int, int]]:
    inner = sorted(draw(st.sets(st.integers(1, length - 1), max_size=3))) if length > 1 else []
    borders = [0, *inner, length]
    return list(zip(borders[:-1], borders[1:], strict=True))


@st.composite
def chunked_maps(draw: st.DrawFn) -> tuple[np.ndarray, list[Window]]:
    """A map of few classes and nodata, and windows that cover it in any order."""
    height, width = draw(st.integers(1, 16)), draw(st.integers(1, 16))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    classes = generator.choice(
        [0, 1, 2, NODATA],
        size=(height, width),
        p=draw(st.sampled_from([(0.25, 0.25, 0.25, 0.25), (0.6, 0.4, 0, 0), (0.9, 0.1, 0, 0), (0.45, 0.45, 0, 0.1)])),
    ).astype(np.uint8)
    windows = [
        Window(left, top, right - left, bottom - top)
        for left, right in cuts(draw, width)
        for top, bottom in cuts(draw, height)
    ]
    return classes, draw(st.permutations(windows))


relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@relaxed
@given(chunked_maps())
def test_polygons_reproduce_the_raster_for_any_chunks(tmp_path: Path, case: tuple[np.ndarray, list[Window]]) -> None:
    classes, windows = case
    grid = grid_of(classes.shape)
    count = polygonise(tmp_path / "map.gpkg", grid, classes, windows)
    polygons, columns = read(tmp_path / "map.gpkg")
    assert count == len(polygons) == len(label_regions(classes, NODATA).classes)
    assert shapely.is_valid(polygons).all()
    assert shapely.area(polygons).sum() == 100 * (classes != NODATA).sum()
    if count:
        burnt = rasterize(
            list(zip(polygons, columns["class_id"].tolist(), strict=True)),
            out_shape=grid.shape,
            transform=grid.transform,
            fill=NODATA,
            dtype="uint8",
        )
        np.testing.assert_array_equal(burnt, classes)


@relaxed
@given(chunked_maps(), st.sampled_from([0.0, 1.0]))
def test_result_does_not_depend_on_the_chunks(
    tmp_path: Path, case: tuple[np.ndarray, list[Window]], tolerance: float
) -> None:
    classes, windows = case
    grid = grid_of(classes.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "BLOCK", 5)
        polygonise(tmp_path / "cut.gpkg", grid, classes, windows, simplify_px=tolerance)
        polygonise(tmp_path / "whole.gpkg", grid, classes, [grid.window], simplify_px=tolerance)
    cut, cut_columns = read(tmp_path / "cut.gpkg")
    whole, columns = read(tmp_path / "whole.gpkg")
    assert shapely.to_wkb(cut).tolist() == shapely.to_wkb(whole).tolist()
    for name, column in columns.items():
        assert cut_columns[name].tolist() == column.tolist()


@relaxed
@given(chunked_maps(), st.sampled_from([0.7, 1.0, 2.5]))
def test_simplified_neighbours_have_no_gaps_or_overlaps(
    tmp_path: Path, case: tuple[np.ndarray, list[Window]], tolerance: float
) -> None:
    classes, windows = case
    classes = np.where(classes == NODATA, 2, classes)
    grid = grid_of(classes.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "BLOCK", 6)
        polygonise(tmp_path / "map.gpkg", grid, classes, windows, simplify_px=tolerance)
    polygons, _ = read(tmp_path / "map.gpkg")
    assert len(polygons) == len(label_regions(classes).classes)
    assert shapely.is_valid(polygons).all()
    assert shapely.area(polygons).sum() == pytest.approx(100 * classes.size, rel=1e-12)
    assert shapely.union_all(polygons).equals(shapely.box(*grid.bounds))


def test_simplification_drops_the_steps_of_a_slope(tmp_path: Path) -> None:
    rows, cols = np.mgrid[:200, :300]
    classes = (cols > rows).astype(np.uint8)
    polygonise(tmp_path / "map.gpkg", grid_of(classes.shape), classes, [Window(0, 0, 300, 200)], simplify_px=1.0)
    polygons, _ = read(tmp_path / "map.gpkg")
    assert shapely.get_num_coordinates(polygons).max() <= 8


def test_a_hole_across_four_chunks_is_one_ring(tmp_path: Path) -> None:
    classes = np.zeros((12, 12), np.uint8)
    classes[4:8, 4:8] = 1
    windows = [Window(c, r, 6, 6) for c in (0, 6) for r in (0, 6)]
    assert polygonise(tmp_path / "map.gpkg", grid_of(classes.shape), classes, windows) == 2
    polygons, columns = read(tmp_path / "map.gpkg")
    by_class = dict(zip(columns["class_id"].tolist(), polygons, strict=True))
    assert len(by_class[0].interiors) == 1
    assert shapely.get_num_coordinates(by_class[0]) == 10
    assert columns["class"].tolist() == [{0: "water", 1: "forêt"}[v] for v in columns["class_id"].tolist()]


def test_small_regions_are_dropped_after_they_were_merged(tmp_path: Path) -> None:
    classes = np.full((10, 20), NODATA, np.uint8)
    classes[2:4, 8:12] = 1  # 8 pixels, 4 in each chunk
    classes[7:9, 2:4] = 2  # 4 pixels
    windows = [Window(0, 0, 10, 10), Window(10, 0, 10, 10)]
    assert polygonise(tmp_path / "map.gpkg", grid_of(classes.shape), classes, windows, min_area_m2=600) == 1
    _, columns = read(tmp_path / "map.gpkg")
    assert columns["class_id"].tolist() == [1]


def test_chunks_that_never_come_are_nodata(tmp_path: Path) -> None:
    classes = np.ones((10, 20), np.uint8)
    for tolerance in (0.0, 1.0):
        polygonise(
            tmp_path / "map.gpkg", grid_of(classes.shape), classes, [Window(0, 0, 10, 10)], simplify_px=tolerance
        )
        polygons, _ = read(tmp_path / "map.gpkg")
        assert [polygon.bounds for polygon in polygons] == [(400_000, 4_999_900, 400_100, 5_000_000)]


@pytest.mark.parametrize(
    ("crs", "transform", "expected"),
    [
        (UTM, Affine(10, 0, 400_000, 0, -10, 5_000_100), 10005.545585696906),
        (CRS.from_epsg(3857), Affine(5_000, 0, 1e6, 0, -5_000, 6.05e6), 1141470916.761921),
        (CRS.from_epsg(4326), Affine(0.1, 0, 10, 0, -0.1, 51), 7892218857.947648),
    ],
)
def test_area_is_on_the_ellipsoid(tmp_path: Path, crs: CRS, transform: Affine, expected: float) -> None:
    classes = np.ones((10, 10), np.uint8)
    grid = grid_of(classes.shape, crs, transform)
    polygonise(tmp_path / "map.gpkg", grid, classes, [grid.window])
    _, columns = read(tmp_path / "map.gpkg")
    assert columns["area_m2"] == pytest.approx([expected], rel=1e-6)


def test_rotated_grid(tmp_path: Path) -> None:
    classes = np.zeros((6, 8), np.uint8)
    classes[2:4, 3:6] = 1
    transform = Affine.translation(400_000, 5_000_000) @ Affine.rotation(30) @ Affine.scale(10, -10)
    grid = grid_of(classes.shape, UTM, transform)
    polygonise(tmp_path / "map.gpkg", grid, classes, [Window(0, 0, 4, 6), Window(4, 0, 4, 6)])
    polygons, columns = read(tmp_path / "map.gpkg")
    burnt = rasterize(
        list(zip(polygons, columns["class_id"].tolist(), strict=True)),
        out_shape=grid.shape,
        transform=grid.transform,
        fill=NODATA,
        dtype="uint8",
    )
    np.testing.assert_array_equal(burnt, classes)


def test_file_appears_only_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "map.gpkg"
    grid = grid_of((4, 4))
    polygoniser = Polygoniser(path, grid, LEGEND, NODATA)
    polygoniser.add(grid.window, np.zeros((4, 4), np.uint8))
    assert not path.exists()
    assert polygoniser.close() == 1
    assert os.listdir(tmp_path) == ["map.gpkg"]
    info = pyogrio.read_info(path)
    assert (info["layer_name"], info["features"], info["crs"]) == (LAYER, 1, "EPSG:32631")
    Polygoniser(path, grid, LEGEND, NODATA).discard()
    assert pyogrio.read_info(path)["features"] == 1


def test_a_map_without_classes_makes_an_empty_layer(tmp_path: Path) -> None:
    assert polygonise(tmp_path / "map.gpkg", grid_of((4, 4)), np.full((4, 4), NODATA), [Window(0, 0, 4, 4)]) == 0
    assert pyogrio.read_info(tmp_path / "map.gpkg")["features"] == 0


def test_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        polygonise(tmp_path / "none" / "map.gpkg", grid_of((4, 4)), np.zeros((4, 4)), [Window(0, 0, 4, 4)])


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file size are a POSIX matter")
@pytest.mark.parametrize("missing_bytes", [300_000, 4096])
def test_full_disk_is_an_output_error_and_leaves_nothing(tmp_path: Path, missing_bytes: int) -> None:
    """Also when only the last page is missing: GDAL builds the spatial index last and does not report a failure."""
    script = f"""
import os, resource, signal, sys
import numpy as np
from affine import Affine
from rasterio.crs import CRS
from backend.geo.grid import Grid
from backend.geo.vector import Polygoniser
from backend.geo.writer import Legend
from backend.protocol.errors import OutputError

def write():
    polygoniser = Polygoniser("map.gpkg", grid, Legend(()), 255)
    polygoniser.add(grid.window, np.random.default_rng(0).integers(0, 3, (60, 60)))
    polygoniser.close()

grid = Grid(CRS.from_epsg(32631), Affine(10, 0, 0, 0, -10, 0), 60, 60)
write()
limit = os.path.getsize("map.gpkg") - {missing_bytes}
os.unlink("map.gpkg")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    write()
except OutputError:
    sys.exit(7)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, check=False, capture_output=True
    )
    assert result.returncode == 7, result.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("order", ["import rasterio, pyogrio", "import pyogrio, rasterio"])
def test_both_gdals_find_their_data_in_one_process(tmp_path: Path, order: str) -> None:
    """The wheels of rasterio and pyogrio each carry a GDAL and a PROJ of their own."""
    script = f"""
{order}
import numpy as np, shapely
from rasterio.warp import transform
path = {str(tmp_path / "points.gpkg")!r}
pyogrio.raw.write(path, geometry=shapely.to_wkb(np.array([shapely.box(0, 0, 1, 1)])), field_data=[], fields=[],
                  driver="GPKG", geometry_type="Polygon", crs="EPSG:25832")
xs, ys = transform("EPSG:32631", "EPSG:4326", [500_000.0], [0.0])
assert abs(xs[0] - 3) < 1e-9 and abs(ys[0]) < 1e-9
assert pyogrio.read_info(path)["crs"] == "EPSG:25832"
assert rasterio.crs.CRS.from_user_input(pyogrio.read_info(path)["crs"]).to_epsg() == 25832
"""
    subprocess.run([sys.executable, "-c", script], check=True)
