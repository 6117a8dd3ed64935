"""What files say about themselves, and which of them are refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC

from backend.geo.grid import Grid
from backend.geo.source import Layer, describe, fingerprint, mosaic_grid, source_from_layers
from backend.protocol.errors import GridError, InputError, SourceError
from tests.rasters import LEFT, TOP, UTM32, WGS84, source_of, utm_grid, write_raster

ONES = np.ones((1, 8, 8), "uint8")


def test_describes_header(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.ones((2, 8, 10), "uint16"), utm_grid(10, 8), nodata=7)
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("B02", "B03")
        dataset.scales, dataset.offsets = (1e-4, 1e-4), (-0.1, -0.1)
        dataset.update_tags(acquisition_date="2020-01-02")
        dataset.update_tags(2, wavelength="560")
    info = describe(path)
    assert info.grid == utm_grid(10, 8)
    assert (info.count, info.width, info.height, info.driver) == (2, 10, 8, "GTiff")
    second = info.bands[1]
    assert (second.description, second.nodata, second.scale, second.offset) == ("B03", 7, 1e-4, -0.1)
    assert second.tags[""]["wavelength"] == "560"
    assert info.tags[""]["acquisition_date"] == "2020-01-02"
    assert info.problem() is None


def test_missing_empty_folder_and_garbage_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.tif").write_text("not a raster")
    whole = Path(write_raster(tmp_path / "whole.tif", np.ones((1, 64, 64), "uint8"), utm_grid(64, 64))).read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[:60])
    cases = {
        "missing.tif": "does not exist",
        "empty.tif": "is empty",
        "text.tif": "cannot be opened",
        "cut.tif": "cannot be opened",
        ".": "is a folder",
    }
    for name, words in cases.items():
        with pytest.raises(SourceError, match=words):
            describe(tmp_path / name)
    with pytest.raises(SourceError, match="no raster was given"):
        describe("")


def _ground_control(path: Path) -> str:
    points = [GroundControlPoint(r, c, LEFT + c, TOP - r) for r, c in ((0, 0), (0, 8), (8, 0), (8, 8))]
    with rasterio.open(path, "w", driver="GTiff", width=8, height=8, count=1, dtype="uint8") as dataset:
        dataset.gcps = points, WGS84
        dataset.write(ONES)
    return str(path)


def _rational_polynomials(path: Path) -> str:
    coefficients = [1.0] + [0.0] * 19
    rpcs = RPC(
        height_off=0,
        height_scale=1,
        lat_off=40,
        lat_scale=1,
        line_den_coeff=coefficients,
        line_num_coeff=coefficients,
        line_off=4,
        line_scale=4,
        long_off=10,
        long_scale=1,
        samp_den_coeff=coefficients,
        samp_num_coeff=coefficients,
        samp_off=4,
        samp_scale=4,
        err_bias=0,
        err_rand=0,
    )
    with rasterio.open(path, "w", driver="GTiff", width=8, height=8, count=1, dtype="uint8") as dataset:
        dataset.rpcs = rpcs
        dataset.write(ONES)
    return str(path)


def _palette(path: Path) -> str:
    with rasterio.open(write_raster(path, ONES, utm_grid(8, 8)), "r+") as dataset:
        dataset.write_colormap(1, {0: (0, 0, 0), 1: (255, 0, 0)})
    return str(path)


def test_files_without_place_or_measurements_are_refused_with_a_way_out(tmp_path: Path) -> None:
    grid = utm_grid(8, 8)
    shifted = Grid(WGS84, Affine(0.1, 0, 179.6, 0, -0.1, 10), 8, 8)
    impossible = Grid(WGS84, Affine(10, 0, 500, 0, -10, 4000), 8, 8)
    cases = {
        write_raster(tmp_path / "crs.tif", ONES, grid, crs=None): "gdal_edit",
        write_raster(tmp_path / "transform.tif", ONES, grid, transform=Affine.identity()): "georeference",
        write_raster(tmp_path / "local.tif", ONES, grid, crs='LOCAL_CS["drawing",UNIT["metre",1]]'): "local",
        _ground_control(tmp_path / "gcp.tif"): "gdalwarp -tps",
        _rational_polynomials(tmp_path / "rpc.tif"): "gdalwarp -rpc",
        write_raster(tmp_path / "complex.tif", ONES.astype("complex64"), grid): "complex",
        _palette(tmp_path / "palette.tif"): "expand",
        write_raster(tmp_path / "antimeridian.tif", ONES, shifted): "antimeridian",
        write_raster(tmp_path / "degrees.tif", ONES, impossible): "latitudes",
    }
    for path, words in cases.items():
        assert describe(path).count == 1
        with pytest.raises(SourceError, match=words):
            source_of(path)
    assert source_from_layers([Layer((str(tmp_path / "palette.tif"),), (1,))], classes=True).count == 1
    with pytest.raises(SourceError, match="no band 2"):
        source_of(write_raster(tmp_path / "one.tif", ONES, grid), bands=2)


def test_grid_is_the_finest_layers(tmp_path: Path) -> None:
    coarse = write_raster(tmp_path / "coarse.tif", ONES, utm_grid(8, 8, 20))
    fine = write_raster(tmp_path / "fine.tif", np.ones((1, 16, 16), "uint8"), utm_grid(16, 16, 10))
    source = source_from_layers([Layer((coarse,), (1,)), Layer((fine,), (1, 1))])
    assert source.grid == utm_grid(16, 16, 10)
    assert source.count == 3


def test_mosaic_covers_all_tiles() -> None:
    right = utm_grid(8, 8, left=LEFT + 80)
    below = utm_grid(8, 8, left=LEFT - 10, top=TOP - 80)
    assert mosaic_grid([utm_grid(8, 8), right, below]) == utm_grid(17, 16, left=LEFT - 10)
    other_zone = Grid(UTM32, Affine(10, 0, 1_030_000, 0, -10, TOP), 8, 8)
    union = mosaic_grid([utm_grid(8, 8), other_zone])
    assert union.crs == utm_grid(8, 8).crs and union.width > 8
    east, west = (
        Grid(WGS84, Affine(0.1, 0, 179, 0, -0.1, 10), 8, 8),
        Grid(WGS84, Affine(0.1, 0, -180, 0, -0.1, 10), 8, 8),
    )
    with pytest.raises(GridError, match="antimeridian"):
        mosaic_grid([east, west])


def test_fingerprint_tells_changed_files(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ONES, utm_grid(8, 8))
    before = fingerprint(source_of(path))
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset/>")
    assert fingerprint(source_of(path)) == before
    status = os.stat(path)
    write_raster(tmp_path / "a.tif", ONES * 2, utm_grid(8, 8))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = fingerprint(source_of(path))
    assert after[0]["size"] == before[0]["size"] and after[0]["sha256"] != before[0]["sha256"]


def test_every_raster_of_the_kit_is_usable_or_refused(kit: Path) -> None:
    usable, refused = 0, {}
    names = [str(file) for file in kit.rglob("*") if file.suffix in (".tif", ".jp2", ".nc", ".png", ".jpg")]
    names += [part for name in names if name.endswith(".nc") for part in describe(name).subdatasets]
    for name in names:
        info = describe(name)
        try:
            source_of(name, bands=max(1, info.count))
            usable += 1
        except InputError as error:
            refused[name] = error.sentence()
    assert usable > 1000
    expected = ("clouds_csmask", "eurosat/rgb")
    for name, sentence in refused.items():
        if name.endswith(".nc"):
            assert "container" in sentence
        elif "NETCDF:" not in name:
            assert any(part in name for part in expected) and "no coordinate reference system" in sentence, (
                name,
                sentence,
            )
