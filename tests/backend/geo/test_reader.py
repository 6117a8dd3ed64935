"""Windows of a grid from rasters of other grids: exact where aligned, placed rightly, the same however they are cut."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.warp import transform

from backend.geo.grid import Grid, Window
from backend.geo.reader import MaskReader, StripReader
from backend.geo.source import Layer, source_from_layers
from backend.protocol.errors import GridError, ParameterError, SourceError
from tests.rasters import LEFT, TOP, UTM32, UTM33, WGS84, centres, source_of, utm_grid, write_raster

RANDOM = np.random.default_rng(7)


def read_all(
    path: str, grid: Grid, bands: int = 1, resampling: str = "auto", nodata: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    with StripReader(source_of(path, bands=bands, nodata=nodata), grid, resampling) as reader:
        return reader.read(grid.window)


def field(grid: Grid, crs: CRS = UTM33) -> np.ndarray:
    """Easting plus northing in a CRS at a grid's pixel centres: linear there, so bilinear sampling is exact."""
    xs, ys = centres(grid)
    if grid.crs != crs:
        flat = transform(grid.crs, crs, xs.ravel(), ys.ravel())
        xs, ys = (np.reshape(v, xs.shape) for v in flat)
    return ((xs - LEFT) + 2 * (ys - TOP)) / 100


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64", "int64"])
def test_aligned_pixels_are_exact(tmp_path: Path, dtype: str) -> None:
    high = min(2**24, np.iinfo(dtype).max) if np.dtype(dtype).kind in "iu" else 2**24
    array = RANDOM.integers(0, high, (3, 50, 60), endpoint=True).astype(dtype)
    path = write_raster(tmp_path / "a.tif", array, utm_grid(60, 50))
    grid = utm_grid(70, 60, left=LEFT - 50, top=TOP + 20)
    values, valid = read_all(path, grid, bands=3)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values[:, 2:52, 5:65], array.astype("float32"))
    inside = np.zeros((60, 70), bool)
    inside[2:52, 5:65] = True
    np.testing.assert_array_equal(valid, inside)
    assert not values[:, ~inside].any()


def test_window_may_reach_over_the_border(tmp_path: Path) -> None:
    array = RANDOM.integers(1, 9, (1, 20, 20)).astype("uint8")
    path = write_raster(tmp_path / "a.tif", array, utm_grid(20, 20))
    with StripReader(source_of(path), utm_grid(20, 20)) as reader:
        values, valid = reader.read(Window(-5, 15, 30, 10))
        np.testing.assert_array_equal(values[0, :5, 5:25], array[0, 15:])
        assert valid[:5, 5:25].all() and valid.sum() == 100
        assert not reader.read(Window(50, 50, 4, 4))[1].any()


def test_layers_are_concatenated_and_valid_where_all_are(tmp_path: Path) -> None:
    first, second = np.full((2, 10, 10), 5, "uint8"), np.full((1, 10, 10), 6, "int16")
    first[1, 2, 3], second[0, 4, 5] = 0, -1
    paths = [
        write_raster(tmp_path / "a.tif", first, utm_grid(10, 10), nodata=0),
        write_raster(tmp_path / "b.tif", second, utm_grid(10, 10), nodata=-1),
    ]
    source = source_from_layers([Layer((paths[1],), (1,)), Layer((paths[0],), (2, 1))])
    with StripReader(source, utm_grid(10, 10)) as reader:
        values, valid = reader.read(Window(0, 0, 10, 10))
    assert values[:, 0, 0].tolist() == [6, 5, 5]
    assert sorted(zip(*np.nonzero(~valid), strict=True)) == [(2, 3), (4, 5)]
    assert not values[:, ~valid].any()


def _masked_files(folder: Path) -> dict[str, tuple[str, float | None]]:
    """The same 4 x 4 hole, told in every way there is: name and the user's nodata by kind."""
    hole = np.zeros((40, 40), bool)
    hole[8:12, 20:24] = True
    grid = utm_grid(40, 40)
    plain = np.full((1, 40, 40), 100, "uint8")
    punched = np.where(hole, 255, plain).astype("uint8")
    files: dict[str, tuple[str, float | None]] = {}
    files["nodata"] = write_raster(folder / "nodata.tif", punched, grid, nodata=255), None
    files["user"] = write_raster(folder / "user.tif", punched, grid), 255.0
    floats = np.where(hole, np.nan, plain).astype("float32")
    files["nan"] = write_raster(folder / "nan.tif", floats, grid), None
    files["nan nodata"] = write_raster(folder / "nan2.tif", floats, grid, nodata=np.nan), None
    files["infinite"] = write_raster(folder / "inf.tif", np.where(hole, np.inf, plain).astype("float32"), grid), None
    lowest = np.finfo("float32").min
    files["lowest"] = (
        write_raster(
            folder / "lowest.tif", np.where(hole, lowest, plain).astype("float32"), grid, nodata=float(lowest)
        ),
        None,
    )
    wide = np.where(hole, -(2**31), -(2**31) + 1)[None].astype("int32")
    files["int32"] = write_raster(folder / "int32.tif", wide, grid, nodata=-(2**31)), None
    for kind, internal in (("internal mask", "YES"), ("side mask", "NO")):
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
            files[kind] = write_raster(folder / f"{kind}.tif", punched, grid), None
            with rasterio.open(files[kind][0], "r+") as dataset:
                dataset.write_mask(~hole)
    alpha = np.concatenate([punched, punched, punched, np.where(hole, 0, 255)[None].astype("uint8")])
    files["alpha"] = write_raster(folder / "alpha.tif", alpha, grid, photometric="RGB", alpha="YES"), None
    wide_alpha = np.concatenate([punched] * 3 + [np.where(hole, 0, 1)[None].astype("uint8")]).astype("uint16")
    files["16 bit alpha"] = write_raster(folder / "alpha16.tif", wide_alpha, grid, photometric="RGB", alpha="YES"), None
    return files


def test_nodata_is_exact_for_every_kind_of_mask(tmp_path: Path) -> None:
    for kind, (path, nodata) in _masked_files(tmp_path).items():
        with StripReader(source_of(path, nodata=nodata), utm_grid(40, 40)) as reader:
            values, valid = reader.read(Window(0, 0, 40, 40))
        assert (~valid).sum() == 16 and not valid[8:12, 20:24].any(), kind
        constant = values[0, 0, 0]
        assert constant != 0 and (values[0][valid] == constant).all() and not values[0][~valid].any(), kind


@pytest.mark.parametrize("pixel", [5.0, 7.0, 10.0, 20.0, 50.0])
def test_sampled_values_hold_nothing_of_invalid_neighbours(tmp_path: Path, pixel: float) -> None:
    grid = utm_grid(int(380 / pixel), int(380 / pixel), pixel, left=LEFT + 3.3, top=TOP - 5)
    for kind, (path, nodata) in _masked_files(tmp_path).items():
        values, valid = read_all(path, grid, nodata=nodata)
        assert valid.any(), kind
        constant = -(2.0**31) if kind == "int32" else 100
        np.testing.assert_allclose(values[0][valid], constant, rtol=1e-6, err_msg=kind)
        if pixel <= 20:
            xs, ys = centres(grid)
            hole = (xs > LEFT + 200) & (xs < LEFT + 240) & (ys < TOP - 80) & (ys > TOP - 120)
            assert not valid[hole].any(), kind


def test_half_pixel_offset_is_bilinear(tmp_path: Path) -> None:
    array = RANDOM.random((2, 30, 30)).astype("float32")
    path = write_raster(tmp_path / "a.tif", array, utm_grid(30, 30))
    values, valid = read_all(path, utm_grid(29, 29, left=LEFT + 5, top=TOP - 5), bands=2)
    expected = (array[:, :-1, :-1] + array[:, 1:, :-1] + array[:, :-1, 1:] + array[:, 1:, 1:]) / 4
    assert valid.all()
    np.testing.assert_allclose(values, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("pixel", "repeat", "block"), [(20.0, 1, 2), (25.0, 2, 5), (15.0, 2, 3), (100.0, 1, 10), (60.0, 1, 6)]
)
def test_shrinking_is_the_area_weighted_average(tmp_path: Path, pixel: float, repeat: int, block: int) -> None:
    array = RANDOM.integers(0, 1000, (2, 60, 60)).astype("uint16")
    path = write_raster(tmp_path / "a.tif", array, utm_grid(60, 60))
    side = 60 * repeat // block
    values, valid = read_all(path, utm_grid(side, side, pixel), bands=2)
    fine = array.repeat(repeat, axis=1).repeat(repeat, axis=2).astype("float64")
    expected = fine.reshape(2, side, block, side, block).mean(axis=(2, 4))
    assert valid.all()
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_shrinking_averages_valid_pixels_only(tmp_path: Path) -> None:
    array = RANDOM.integers(1, 1000, (1, 40, 40)).astype("uint16")
    array[0][RANDOM.random((40, 40)) < 0.3] = 0
    array[0, :10, :10] = 0
    path = write_raster(tmp_path / "a.tif", array, utm_grid(40, 40), nodata=0)
    values, valid = read_all(path, utm_grid(4, 4, 100))
    blocks = array.reshape(4, 10, 4, 10).astype("float64")
    known = (blocks > 0).sum(axis=(1, 3))
    assert not valid[0, 0] and valid.sum() == 15
    np.testing.assert_allclose(values[0][valid], (blocks.sum(axis=(1, 3))[valid] / known[valid]), rtol=0.05)


@pytest.mark.parametrize("factor", [2, 20])
def test_nearest_takes_pixels_as_they_are(tmp_path: Path, factor: int) -> None:
    array = RANDOM.integers(0, 200, (1, 80, 80)).astype("uint8")
    path = write_raster(tmp_path / "a.tif", array, utm_grid(80, 80))
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4], Resampling.average)
    shrunk, _ = read_all(path, utm_grid(80 // factor, 80 // factor, 10.0 * factor), resampling="nearest")
    np.testing.assert_array_equal(shrunk[0], array[0, factor // 2 :: factor, factor // 2 :: factor])
    enlarged, _ = read_all(path, utm_grid(240, 240, 10 / 3), resampling="nearest")
    np.testing.assert_array_equal(enlarged[0], array[0].repeat(3, axis=0).repeat(3, axis=1))
    with pytest.raises(ParameterError):
        read_all(path, utm_grid(8, 8), resampling="cubic")


def test_south_up_and_rotated_rasters(tmp_path: Path) -> None:
    target = utm_grid(40, 40)
    south_up = Grid(UTM33, Affine(10, 0, LEFT, 0, 10, TOP - 400), 40, 40)
    array = RANDOM.integers(0, 200, (1, 40, 40)).astype("uint8")
    values, valid = read_all(write_raster(tmp_path / "s.tif", array, south_up), target)
    assert valid.all()
    np.testing.assert_array_equal(values[0], array[0, ::-1])
    rotated = Grid(
        UTM33, Affine.translation(LEFT + 200, TOP + 100) @ Affine.rotation(-30) @ Affine.scale(10, -10), 60, 60
    )
    path = write_raster(tmp_path / "r.tif", field(rotated)[None].astype("float32"), rotated)
    values, valid = read_all(path, target)
    assert 0.3 < valid.mean() < 1.0
    cols, rows = ~rotated.transform @ centres(target)
    away = (cols > 1) & (cols < 59) & (rows > 1) & (rows < 59)
    np.testing.assert_allclose(values[0][away], field(target)[away], atol=2e-3)
    inside = (cols > 0.01) & (cols < 59.99) & (rows > 0.01) & (rows < 59.99)
    assert valid[inside].all()
    turned, known = read_all(path, rotated)
    assert known.all() and turned.shape == (1, 60, 60)


@pytest.mark.parametrize("epsg", [32632, 4326, 3857, 25833, 3035])
def test_other_crs_is_placed_to_a_hundredth_of_a_pixel(tmp_path: Path, epsg: int) -> None:
    crs = CRS.from_epsg(epsg)
    x, y = (v[0] for v in transform(UTM33, crs, [LEFT + 2000], [TOP - 2000]))
    # Coarser than the target everywhere: bilinear sampling of a linear field is exact but for the placement.
    pixel = 15 / 111_000 if crs.is_geographic else 15.0
    raster = Grid(crs, Affine(pixel, 0, x - 300 * pixel, 0, -pixel, y + 300 * pixel), 600, 600)
    path = write_raster(tmp_path / "a.tif", field(raster)[None].astype("float32"), raster)
    target = utm_grid(250, 250, left=LEFT + 750, top=TOP - 750)
    values, valid = read_all(path, target)
    assert valid.all()
    # The field changes by 0.1 per target pixel eastwards and 0.2 northwards.
    np.testing.assert_allclose(values[0], field(target), atol=2e-3)


def test_degrees_onto_metres_and_back_when_shrinking(tmp_path: Path) -> None:
    raster = Grid(WGS84, Affine(2e-5, 0, 15.0, 0, -2e-5, 37.94), 600, 600)
    path = write_raster(tmp_path / "a.tif", field(raster)[None].astype("float32"), raster)
    target = utm_grid(40, 50, left=LEFT + 200, top=4_199_000)
    values, valid = read_all(path, target)
    assert valid.any()
    np.testing.assert_allclose(values[0][valid], field(target)[valid], atol=0.05)


@pytest.fixture(scope="module")
def cut_cases(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[StripReader, np.ndarray, np.ndarray]]:
    """Readers of every way of sampling, and what they give in one piece."""
    folder = tmp_path_factory.mktemp("cuts")
    array = RANDOM.integers(0, 60000, (2, 300, 300)).astype("uint16")
    array[:, RANDOM.random((300, 300)) < 0.02] = 0
    x, y = (v[0] for v in transform(UTM33, UTM32, [LEFT], [TOP]))
    degrees = Grid(WGS84, Affine(1.1e-4, 0, 15.0, 0, -0.9e-4, 37.947), 300, 300)
    rasters = [
        utm_grid(300, 300),
        Grid(UTM32, Affine(10, 0, x - 100, 0, -10, y + 100), 300, 300),
        degrees,
        Grid(UTM33, Affine.translation(LEFT, TOP) @ Affine.rotation(20) @ Affine.scale(10, -10), 300, 300),
    ]
    cases = []
    for number, raster in enumerate(rasters):
        path = write_raster(folder / f"{number}.tif", array, raster, nodata=0, tiled=True, blockxsize=64, blockysize=64)
        with rasterio.open(path, "r+") as dataset:
            dataset.build_overviews([2, 4], Resampling.average)
        for pixel in (4.0, 10.0, 13.0, 27.0, 90.0):
            size = int(2400 / pixel)
            grid = utm_grid(size, size, pixel, left=LEFT + 3, top=TOP - 7)
            for resampling in ("auto", "nearest"):
                reader = StripReader(source_of(path, bands=2), grid, resampling)
                cases.append((reader, *reader.read(grid.window)))
    return cases


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_result_does_not_depend_on_the_cut(
    cut_cases: list[tuple[StripReader, np.ndarray, np.ndarray]], data: st.DataObject
) -> None:
    reader, values, valid = cut_cases[data.draw(st.integers(0, len(cut_cases) - 1))]
    height, width = valid.shape
    col, row = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    window = Window(col, row, data.draw(st.integers(1, width - col)), data.draw(st.integers(1, height - row)))
    part, known = reader.read(window)
    rows, cols = window.slices()
    np.testing.assert_array_equal(known, valid[rows, cols])
    np.testing.assert_allclose(part, values[:, rows, cols], rtol=1e-5, atol=1e-3)


def test_constant_stays_constant(tmp_path: Path) -> None:
    x, y = (v[0] for v in transform(UTM33, UTM32, [LEFT], [TOP]))
    for number, raster in enumerate(
        [utm_grid(200, 200), Grid(UTM32, Affine(10, 0, x - 100, 0, -10, y + 100), 200, 200)]
    ):
        path = write_raster(tmp_path / f"{number}.tif", np.full((1, 200, 200), 0.1, "float32"), raster)
        for pixel in (3.0, 10.0, 17.0, 45.0):
            grid = utm_grid(int(1000 / pixel), int(1000 / pixel), pixel, left=LEFT + 1, top=TOP - 200)
            values, valid = read_all(path, grid)
            assert valid.any()
            assert (values[0][valid] == np.float32(0.1)).all() or np.abs(values[0][valid] - 0.1).max() < 1e-7


def test_first_valid_tile_wins_across_zones(tmp_path: Path) -> None:
    first = np.full((1, 100, 100), 1, "uint8")
    first[0, :, 60:] = 0
    x, y = (v[0] for v in transform(UTM33, UTM32, [LEFT + 500], [TOP]))
    second = Grid(UTM32, Affine(10, 0, x - 200, 0, -10, y + 300), 160, 160)
    paths = (
        write_raster(tmp_path / "a.tif", first, utm_grid(100, 100), nodata=0),
        write_raster(tmp_path / "b.tif", np.full((1, 160, 160), 2, "uint8"), second),
    )
    source = source_of(*paths)
    assert source.grid.crs == UTM33 and source.grid.width > 100
    with StripReader(source, utm_grid(100, 100)) as reader:
        values, valid = reader.read(Window(0, 0, 100, 100))
    assert valid[:, :60].all() and (values[0, :, :60] == 1).all()
    assert valid[20:80, 60:].all() and (values[0, 20:80, 60:] == 2).all()
    with StripReader(source_of(*paths[::-1]), utm_grid(100, 100)) as reader:
        swapped, _ = reader.read(Window(0, 0, 100, 100))
    assert (swapped[0, 20:80, 70:80] == 2).all() and set(np.unique(swapped)) == {1.0, 2.0}


def test_aligned_mosaic_has_no_seams_and_many_files_stay_closed(tmp_path: Path) -> None:
    array = RANDOM.integers(0, 255, (1, 100, 100)).astype("uint8")
    paths = []
    for number in range(100):
        row, col = number // 10 * 10, number % 10 * 10
        grid = utm_grid(100, 100).crop(Window(col, row, 10, 10))
        paths.append(write_raster(tmp_path / f"{number}.tif", array[:, row : row + 10, col : col + 10], grid))
    source = source_of(*paths)
    assert source.grid == utm_grid(100, 100)
    with StripReader(source, source.grid) as reader:
        for _ in range(2):
            values, valid = reader.read(Window(0, 0, 100, 100))
            assert valid.all()
            np.testing.assert_array_equal(values, array)


def test_overviews_are_used_when_shrinking(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.full((1, 64, 64), 1, "uint8"), utm_grid(64, 64))
    # An overview file with values of its own shows which one is read.
    write_raster(tmp_path / "a.tif.ovr", np.full((1, 16, 16), 9, "uint8"), utm_grid(16, 16, 40))
    assert (read_all(path, utm_grid(12, 12, 50))[0] == 9).all()
    assert (read_all(path, utm_grid(16, 16, 40))[0] == 9).all()
    assert (read_all(path, utm_grid(32, 32, 20))[0] == 1).all()
    assert (read_all(path, utm_grid(12, 12, 50), resampling="nearest")[0] == 1).all()
    # The overview may have mixed in pixels that only the user calls invalid.
    assert (read_all(path, utm_grid(12, 12, 50), nodata=77)[0] == 1).all()


def test_memory_stays_bounded_without_overviews(tmp_path: Path) -> None:
    side = 8192
    path = str(tmp_path / "sparse.tif")
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=side,
        height=side,
        count=1,
        dtype="uint8",
        crs=UTM33,
        tiled=True,
        transform=utm_grid(1, 1, 0.5).transform,
        sparse_ok=True,
    ):
        pass
    grid = utm_grid(64, 64, 64)
    with StripReader(source_of(path), grid) as reader:
        tracemalloc.start()
        _, valid = reader.read(grid.window)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert valid.all()
    assert peak < 160 << 20  # the whole raster as float32 would take 256 MiB


def test_antimeridian_and_poles_are_refused(tmp_path: Path) -> None:
    fiji = Grid(CRS.from_epsg(32760), Affine(1000, 0, 700_000, 0, -1000, 8_000_000), 200, 200)
    path = write_raster(tmp_path / "fiji.tif", np.ones((1, 200, 200), "uint8"), fiji)
    with pytest.raises(GridError, match="antimeridian"):
        StripReader(source_of(path), Grid(WGS84, Affine(0.1, 0, -180, 0, -0.1, 90), 3600, 1800))
    polar = Grid(CRS.from_epsg(3995), Affine(5000, 0, -500_000, 0, -5000, 500_000), 200, 200)
    path = write_raster(tmp_path / "polar.tif", np.ones((1, 200, 200), "uint8"), polar)
    with pytest.raises(GridError, match="pole"):
        StripReader(source_of(path), Grid(WGS84, Affine(0.1, 0, -180, 0, -0.1, 90), 3600, 1800))
    world = write_raster(
        tmp_path / "world.tif", np.ones((1, 180, 360), "uint8"), Grid(WGS84, Affine(1, 0, -180, 0, -1, 90), 360, 180)
    )
    with pytest.raises(GridError):
        StripReader(source_of(world), polar)
    assert read_all(path, polar)[1].all()


def test_vanished_changed_and_broken_files_are_named(tmp_path: Path) -> None:
    array = RANDOM.integers(0, 255, (1, 512, 512)).astype("uint8")
    options = {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "DEFLATE"}
    grid = utm_grid(512, 512)
    for name, words in (("gone.tif", "vanished"), ("other.tif", "changed")):
        path = Path(write_raster(tmp_path / name, array, grid, **options))
        with StripReader(source_of(str(path)), grid) as reader:
            reader.read(Window(0, 0, 128, 128))
            if words == "vanished":
                path.unlink()
            else:
                path.write_bytes(path.read_bytes()[:-1000])
            with pytest.raises(SourceError, match=words) as caught:
                reader.read(Window(0, 128, 128, 128))
            assert name in caught.value.sentence()
    path = Path(write_raster(tmp_path / "cut.tif", array, grid, **options))
    path.write_bytes(path.read_bytes()[:-40_000])
    with StripReader(source_of(str(path)), grid) as reader, pytest.raises(SourceError, match=r"cut\.tif"):
        reader.read(grid.window)


def test_mask_forbids_given_values_and_nothing_outside(tmp_path: Path) -> None:
    classes = np.full((1, 10, 10), 4, "uint8")
    classes[0, 0, :4] = 9, 3, 0, 255
    path = write_raster(tmp_path / "scl.tif", classes, utm_grid(10, 10, 20), nodata=255)
    grid = utm_grid(25, 25)
    with MaskReader(path, grid, (9, 3)) as mask:
        allowed = mask.read(grid.window)
    expected = np.ones((25, 25), bool)
    expected[:2, :4] = False
    np.testing.assert_array_equal(allowed, expected)
    with MaskReader(path, grid) as mask:
        allowed = mask.read(grid.window)
    assert not allowed[:20, :4].any() and allowed[:2, 4:8].all() and allowed[20:].all() and allowed[:, 20:].all()


def test_a_near_infrared_band_coloured_as_alpha_is_no_mask(tmp_path: Path) -> None:
    """GDAL colours the fourth band of an 8-bit RGBN file as alpha; dark water in NIR must stay valid."""
    path = tmp_path / "rgbn.tif"
    profile = {"driver": "GTiff", "count": 4, "width": 8, "height": 8, "dtype": "uint8", "crs": "EPSG:32631"}
    with rasterio.open(path, "w", transform=Affine(1, 0, 0, 0, -1, 0), **profile) as dataset:
        dataset.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
        dataset.descriptions = ["red", "green", "blue", "nir"]
        dataset.write(np.stack([np.full((8, 8), 7, np.uint8)] * 3 + [np.zeros((8, 8), np.uint8)]))
    source = source_from_layers([Layer((str(path),), (1, 2, 3))])
    with StripReader(source, source.grid) as reader:
        values, valid = reader.read(Window(0, 0, 8, 8))
    assert valid.all() and (values == 7).all()
