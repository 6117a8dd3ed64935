"""Chunks, the VRT that shows them while a run goes on, and the final file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Compression, Interleaving

from backend.geo.cog import write_cog
from backend.geo.grid import Grid, Window
from backend.geo.writer import ChunkRef, Legend, LegendClass, RasterProfile, write_chunk, write_vrt
from backend.protocol.errors import Cancelled, OutputError, SourceError
from tests.rasters import LEFT, TOP, UTM33, WGS84, utm_grid

LEGEND = Legend(
    (
        LegendClass(1, "Wald & Gebüsch <dicht>", (0, 100, 0)),
        LegendClass(2, "water", (0, 0, 255)),
        LegendClass(7, "水田", (200, 200, 0)),
    )
)
CLASSES = RasterProfile(
    "uint8", 1, 255, ("land cover",), legend=LEGEND, tags={"model": "a <b> & c"}, overview_resampling="mode"
)
CONFIDENCE = RasterProfile("uint8", 2, 255, ("first", "second"), scale=0.005, offset=0.1, overview_resampling="average")
RANDOM = np.random.default_rng(3)


def class_numbers(height: int, width: int) -> np.ndarray:
    return RANDOM.choice(np.array([1, 2, 7, 255], "uint8"), (1, height, width))


def write_run(folder: Path, grid: Grid, array: np.ndarray, profile: RasterProfile, side: int) -> list[ChunkRef]:
    """Chunks of a whole raster."""
    (folder / "chunks").mkdir(parents=True)
    chunks = []
    for row in range(0, grid.height, side):
        for col in range(0, grid.width, side):
            window = Window(col, row, side, side).intersect(grid.window)
            rows, cols = window.slices()
            path = folder / "chunks" / f"r{row}c{col}.tif"
            write_chunk(path, array[:, rows, cols], grid.crop(window), profile)
            chunks.append(ChunkRef(str(path), window))
    return chunks


@contextmanager
def small_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond the limit, as on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_chunk_holds_its_pixels_and_what_they_mean(tmp_path: Path) -> None:
    array, grid = class_numbers(300, 600), utm_grid(600, 300)
    write_chunk(tmp_path / "a.tif", array, grid, CLASSES)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), array)
        assert (dataset.crs, dataset.transform, dataset.nodata) == (grid.crs, grid.transform, 255)
        assert dataset.overviews(1) == [2, 4] and dataset.block_shapes == [(256, 256)]
        assert dataset.colormap(1)[7] == (200, 200, 0, 255) and dataset.descriptions == ("land cover",)
    assert os.listdir(tmp_path) == ["a.tif"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_vrt_shows_finished_chunks_and_nodata_elsewhere(tmp_path: Path, dtype: str) -> None:
    profile = RasterProfile(dtype, 2, 200, ("first", "second"), scale=0.005, offset=0.1)
    grid = utm_grid(250, 170)
    array = RANDOM.integers(0, 200, (2, 170, 250)).astype(dtype)
    folder = tmp_path / "run"
    chunks = write_run(folder, grid, array, profile, 100)
    vrt = folder / "live.vrt"
    for count in (0, 3, len(chunks)):
        write_vrt(vrt, grid, profile, chunks[:count])
        expected = np.full_like(array, 200)
        for chunk in chunks[:count]:
            rows, cols = chunk.window.slices()
            expected[:, rows, cols] = array[:, rows, cols]
        with rasterio.open(vrt) as dataset:
            np.testing.assert_array_equal(dataset.read(), expected)
            assert (dataset.crs, dataset.transform, dataset.nodata) == (grid.crs, grid.transform, 200)
            assert dataset.dtypes == (dtype, dtype) and dataset.descriptions == ("first", "second")
            assert dataset.scales == (0.005, 0.005) and dataset.offsets == (0.1, 0.1)
    shutil.move(folder, tmp_path / "moved")
    with rasterio.open(tmp_path / "moved" / "live.vrt") as dataset:
        np.testing.assert_array_equal(dataset.read(), array)


def test_vrt_of_a_grid_in_degrees_keeps_x_and_y(tmp_path: Path) -> None:
    grid = Grid(WGS84, Affine(0.001, 0, 15, 0, -0.002, 38), 50, 40)
    write_vrt(tmp_path / "a.vrt", grid, CLASSES, [])
    with rasterio.open(tmp_path / "a.vrt") as dataset:
        assert Grid(dataset.crs, dataset.transform, dataset.width, dataset.height) == grid


def test_cog_has_everything(tmp_path: Path) -> None:
    grid, array = utm_grid(1100, 700), class_numbers(700, 1100)
    chunks = write_run(tmp_path / "parts", grid, array, CLASSES, 512)
    write_vrt(tmp_path / "parts" / "a.vrt", grid, CLASSES, chunks)
    told: list[float] = []
    write_cog(tmp_path / "parts" / "a.vrt", tmp_path / "out.tif", CLASSES, progress=told.append)
    assert told == sorted(told) and told[-1] == 1.0
    with rasterio.open(tmp_path / "out.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), array)
        assert Grid(dataset.crs, dataset.transform, dataset.width, dataset.height) == grid
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and dataset.compression.name == "deflate"
        assert dataset.block_shapes == [(512, 512)] and dataset.overviews(1) == [2, 4]
        assert dataset.nodata == 255 and dataset.colorinterp == (ColorInterp.palette,)
        assert dataset.colormap(1)[1] == (0, 100, 0, 255) and dataset.tags()["model"] == "a <b> & c"
        assert not any(key.startswith("STATISTICS") for key in dataset.tags(1))
        shrunk = dataset.read(1, out_shape=(350, 550))
    assert set(np.unique(shrunk)) <= {1, 2, 7, 255}
    assert "水田" in (tmp_path / "out.tif.aux.xml").read_text("utf-8")
    assert sorted(os.listdir(tmp_path)) == ["out.tif", "out.tif.aux.xml", "parts"]


def test_measurements_keep_scale_and_average_overviews(tmp_path: Path) -> None:
    grid = utm_grid(1024, 1024)
    array = RANDOM.integers(0, 200, (2, 1024, 1024)).astype("uint8")
    write_chunk(tmp_path / "a.tif", array, grid, CONFIDENCE)
    write_cog(tmp_path / "a.tif", tmp_path / "out.tif", CONFIDENCE)
    with rasterio.open(tmp_path / "out.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), array)
        assert dataset.scales == (0.005, 0.005) and dataset.offsets == (0.1, 0.1)
        assert dataset.descriptions == ("first", "second")
    with rasterio.open(tmp_path / "out.tif", overview_level=0) as dataset:
        means = array.reshape(2, 512, 2, 512, 2).mean(axis=(2, 4))
        assert np.abs(dataset.read() - means).max() <= 0.5
    assert not (tmp_path / "out.tif.aux.xml").exists()


@pytest.mark.parametrize(("bands", "side", "dtype"), [(40, 520, "float32"), (40, 80, "float32"), (140, 520, "uint8")])
def test_many_bands_are_stored_one_after_another(tmp_path: Path, bands: int, side: int, dtype: str) -> None:
    """A block of all bands would take gigabytes to write; overviews still stand before the pixels."""
    names = tuple(f"number {band}" for band in range(bands))
    profile = RasterProfile(dtype, bands, 7, names, 0.5, tags={"a": "b"}, overview_resampling="average")
    array = np.zeros((bands, side, side), dtype)
    array[:, -50:, :50] = RANDOM.integers(0, 200, (bands, 50, 50))
    write_chunk(tmp_path / "a.tif", array, utm_grid(side, side), profile)
    write_cog(tmp_path / "a.tif", tmp_path / "out.tif", profile)
    assert sorted(os.listdir(tmp_path)) == ["a.tif", "out.tif"]
    with rasterio.open(tmp_path / "out.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), array)
        assert dataset.interleaving is Interleaving.band and dataset.block_shapes[0] == (512, 512)
        assert (dataset.nodata, dataset.scales[-1], dataset.descriptions) == (7, 0.5, names)
        assert dataset.tags()["a"] == "b" and dataset.compression is Compression.deflate
        assert dataset.overviews(1) == ([2] if side > 512 else [])
        first = int(dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
        directories = [int(dataset.get_tag_item("IFD_OFFSET", "TIFF", bidx=1, ovr=k)) for k in range(side // 512)]
        assert all(place < first for place in directories)


def test_large_rasters_of_many_bands_are_written_apart(tmp_path: Path) -> None:
    """By a process of its own, as other large ones are."""
    profile = RasterProfile("float32", 40, float("nan"), overview_resampling="average")
    array = np.full((40, 720, 720), np.nan, np.float32)
    array[:, 100:200, :50] = RANDOM.normal(size=(40, 100, 50))
    write_chunk(tmp_path / "a.tif", array, utm_grid(720, 720), profile)
    write_cog(tmp_path / "a.tif", tmp_path / "out.tif", profile)
    with rasterio.open(tmp_path / "out.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), array)
        assert np.isnan(dataset.nodata) and dataset.overviews(1) == [2]


def test_stale_side_files_go_with_the_raster_they_belonged_to(tmp_path: Path) -> None:
    write_chunk(tmp_path / "a.tif", class_numbers(64, 64), utm_grid(64, 64), CLASSES)
    for suffix in ("", ".aux.xml", ".ovr"):
        (tmp_path / f"out.tif{suffix}").write_text("old")
    write_cog(tmp_path / "a.tif", tmp_path / "out.tif", CLASSES)
    assert sorted(os.listdir(tmp_path)) == ["a.tif", "out.tif", "out.tif.aux.xml"]
    assert "old" not in (tmp_path / "out.tif.aux.xml").read_text("utf-8")


def test_cog_on_another_grid(tmp_path: Path) -> None:
    grid = utm_grid(400, 400)
    array = np.full((1, 400, 400), 2, "uint8")
    array[0, 100:200, 100:300] = 7
    write_chunk(tmp_path / "a.tif", array, grid, CLASSES)
    target = Grid.covering(WGS84, (14.99, 37.90, 15.06, 37.96), (1e-4, 1e-4))
    write_cog(tmp_path / "a.tif", tmp_path / "out.tif", CLASSES, target=target)
    with rasterio.open(tmp_path / "out.tif") as dataset:
        assert Grid(dataset.crs, dataset.transform, dataset.width, dataset.height) == target
        values = dataset.read(1)
        assert dataset.nodata == 255 and dataset.colormap(1)[7] == (200, 200, 0, 255)
    assert set(np.unique(values)) == {2, 7, 255}
    # 200 x 100 pixels of 100 m2, in pixels of the target at latitude 37.93.
    pixel = target.pixel_size_m()
    assert (values == 7).sum() == pytest.approx(200 * 100 * 100 / (pixel[0] * pixel[1]), rel=0.01)
    halves = np.concatenate([np.tile([[10, 21]], (200, 200))[None].astype("uint8")] * 2)
    write_chunk(tmp_path / "c.tif", halves, utm_grid(400, 200), CONFIDENCE)
    write_cog(
        tmp_path / "c.tif", tmp_path / "mean.tif", CONFIDENCE, target=utm_grid(200, 100, 20), resampling="bilinear"
    )
    with rasterio.open(tmp_path / "mean.tif") as dataset:
        assert (dataset.read() == 16).all()


def test_large_translation_runs_apart_and_stops_at_once(tmp_path: Path) -> None:
    grid = utm_grid(6000, 4000)
    write_vrt(tmp_path / "empty.vrt", grid, CLASSES, [])
    write_cog(tmp_path / "empty.vrt", tmp_path / "out.tif", CLASSES)
    with rasterio.open(tmp_path / "out.tif") as dataset:
        assert dataset.shape == (4000, 6000) and (dataset.read(1, window=((3990, 4000), (5990, 6000))) == 255).all()
    huge = utm_grid(60_000, 60_000, 0.5)
    write_vrt(tmp_path / "huge.vrt", huge, CLASSES, [])
    begin = time.monotonic()
    with pytest.raises(Cancelled):
        write_cog(
            tmp_path / "huge.vrt", tmp_path / "huge.tif", CLASSES, cancelled=lambda: time.monotonic() > begin + 0.5
        )
    assert sorted(os.listdir(tmp_path)) == ["empty.vrt", "huge.vrt", "out.tif", "out.tif.aux.xml"]


def test_a_growing_raster_of_known_range_needs_no_statistics_computed(tmp_path: Path) -> None:
    profile = RasterProfile("uint8", nodata=255, scale=0.004, range=(0, 250))
    write_vrt(tmp_path / "growing.vrt", utm_grid(64, 64), profile, [], growing=True)
    write_vrt(tmp_path / "whole.vrt", utm_grid(64, 64), profile, [])
    with rasterio.open(tmp_path / "growing.vrt") as dataset:
        tags = dataset.tags(1)
        assert (float(tags["STATISTICS_MINIMUM"]), float(tags["STATISTICS_MAXIMUM"])) == (0, 250)
    with rasterio.open(tmp_path / "whole.vrt") as dataset:
        assert dataset.tags(1) == {}


def test_child_ends_when_its_parent_does(tmp_path: Path) -> None:
    huge = utm_grid(60_000, 60_000, 0.5)
    write_vrt(tmp_path / "huge.vrt", huge, CLASSES, [])
    script = Path(__file__).parents[3] / "backend" / "geo" / "translate.py"
    request = {
        "source": str(tmp_path / "huge.vrt"),
        "target": str(tmp_path / "o.tif"),
        "options": {},
        "apart": False,
        "cache_mb": 64,
    }
    with subprocess.Popen([sys.executable, "-I", str(script)], stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.close()
        assert child.wait(30) == 1


def test_full_disk_and_bad_folders_leave_nothing(tmp_path: Path) -> None:
    noise = RANDOM.integers(0, 255, (1, 1024, 1024)).astype("uint8")
    grid = utm_grid(1024, 1024)
    write_chunk(tmp_path / "a.tif", noise, grid, CLASSES)
    with small_disk(100_000):
        with pytest.raises(OutputError, match="disk is full"):
            write_chunk(tmp_path / "b.tif", noise, grid, CLASSES)
        with pytest.raises(OutputError):
            write_cog(tmp_path / "a.tif", tmp_path / "out.tif", CLASSES)
        with pytest.raises(OutputError, match="disk is full"):
            write_vrt(
                tmp_path / "a.vrt", grid, CLASSES, [ChunkRef(f"{n:0100}.tif", Window(0, 0, 1, 1)) for n in range(1000)]
            )
    assert os.listdir(tmp_path) == ["a.tif"]
    for write in (
        lambda path: write_chunk(path, noise, grid, CLASSES),
        lambda path: write_vrt(path, grid, CLASSES, []),
        lambda path: write_cog(tmp_path / "a.tif", path, CLASSES),
    ):
        with pytest.raises(OutputError, match="folder does not exist"):
            write(tmp_path / "missing" / "x.tif")
    with pytest.raises(SourceError, match="profile"):
        write_cog(tmp_path / "a.tif", tmp_path / "out.tif", CONFIDENCE)
    with pytest.raises(SourceError, match="does not exist"):
        write_cog(tmp_path / "gone.vrt", tmp_path / "out.tif", CLASSES)
    assert os.listdir(tmp_path) == ["a.tif"]


def test_lost_chunk_is_an_error_not_a_hole(tmp_path: Path) -> None:
    grid = utm_grid(200, 100)
    chunks = write_run(tmp_path / "parts", grid, class_numbers(100, 200), CLASSES, 100)
    write_vrt(tmp_path / "parts" / "a.vrt", grid, CLASSES, chunks)
    os.remove(chunks[1].path)
    with pytest.raises(OutputError):
        write_cog(tmp_path / "parts" / "a.vrt", tmp_path / "out.tif", CLASSES)
    assert os.listdir(tmp_path) == ["parts"]


_ASK_QGIS = """
import json, sys
from osgeo import gdal
gdal.UseExceptions()
dataset = gdal.Open(sys.argv[1])
band = dataset.GetRasterBand(1)
table = band.GetDefaultRAT()
print(json.dumps({
    "names": band.GetCategoryNames(), "nodata": band.GetNoDataValue(), "colour": band.GetColorTable().GetColorEntry(7),
    "usages": [table.GetUsageOfCol(c) for c in range(table.GetColumnCount())],
    "rows": [[table.GetValueAsString(r, c) for c in range(table.GetColumnCount())] for r in range(table.GetRowCount())],
    "overviews": band.GetOverviewCount(), "sum": int(band.ReadAsArray().sum())}))
"""


@pytest.mark.parametrize("name", ["out.tif", "parts/a.vrt"])
def test_the_gdal_of_qgis_sees_class_names(tmp_path: Path, name: str) -> None:
    python = "/usr/bin/python3"
    if (
        not os.path.exists(python)
        or subprocess.run([python, "-c", "import osgeo.gdal, numpy"], capture_output=True).returncode
    ):
        pytest.skip("no osgeo in the system's Python")
    grid, array = utm_grid(700, 600, left=LEFT, top=TOP, crs=UTM33), class_numbers(600, 700)
    write_vrt(tmp_path / "unused.vrt", grid, CLASSES, [])
    chunks = write_run(tmp_path / "parts", grid, array, CLASSES, 300)
    write_vrt(tmp_path / "parts" / "a.vrt", grid, CLASSES, chunks)
    write_cog(tmp_path / "parts" / "a.vrt", tmp_path / "out.tif", CLASSES)
    done = subprocess.run([python, "-c", _ASK_QGIS, str(tmp_path / name)], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    assert seen["names"] == ["", "Wald & Gebüsch <dicht>", "water", "", "", "", "", "水田"]
    assert seen["rows"][2] == ["7", "水田", "200", "200", "0"] and seen["usages"] == [5, 2, 6, 7, 8]
    assert seen["nodata"] == 255 and seen["colour"] == [200, 200, 0, 255]
    assert seen["sum"] == int(array.sum(dtype="int64"))
