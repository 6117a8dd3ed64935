"""Wrong input is answered with one sentence that helps, exit code 2, and nothing written anywhere."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.control import GroundControlPoint

from backend.geo.grid import Grid
from backend.manifest.package import BandNeed
from tests import packages
from tests.end_to_end.command import earthprism, one_sentence, refused, snapshot
from tests.rasters import UTM33, WGS84, utm_grid, write_raster

GRID = utm_grid(40, 30)
# The scene in degrees, as the sentences show it, and a box inside it.
INSIDE = "500050,4199750,500250,4199950"
RED, INFRARED = BandNeed("B04", 665, 31), BandNeed("B08", 833, 106)

# name: (command line in a folder of bad files, what the sentence must say). The first words say what is wrong, the
# last ones what to do.
RASTERS = {
    "missing file": ("--ms gone.tif", "gone.tif", "does not exist"),
    "missing file of two": ("--ms 'scene.tif|gone.tif'", "gone.tif", "does not exist"),
    "folder without rasters": ("--ms empty", "empty", "no raster"),
    "text file": ("--ms notes.txt", "notes.txt", "raster"),
    "text file called tif": ("--ms text.tif", "text.tif", "raster"),
    "polygons instead of a raster": ("--ms area.geojson", "area.geojson", "raster"),
    "no CRS": ("--ms no-crs.tif", "no-crs.tif", "coordinate reference system", "assign"),
    "ground control points only": ("--ms gcps.tif", "gcps.tif", "control points", "gdalwarp"),
    "complex SAR": ("--sar slc.tif --model models/s1", "slc.tif", "complex", "backscatter"),
    "palette image": ("--hr palette.tif --model models/rgb", "colour table", "RGB"),
    "too few bands": ("--ms one-band.tif", "B2", "one-band.tif"),
    "missing band": (
        "--ms s2-rgb.tif --model models/s2",
        "s2-rgb.tif",
        "near infrared (B08, 833 nm)",
        "B04 (red, 665 nm)",
        "choose a model",
    ),
    "wrong number of band names": ("--ms scene.tif::bands=B1/B2/B3", "3 bands", "has 2"),
    "unknown band name": ("--ms s2.tif::bands=B02/B33/B04/B08 --model models/s2", "B33", "B03"),
    "band named twice": ("--ms s2.tif::bands=B02/B03/B04/B04 --model models/s2", "B04", "2 times", "::bands="),
    "same band twice in the file": ("--ms twice.tif --model models/s2", "twice.tif", "2 times", "::bands="),
    "stacked dates": ("--ms stacked.tif --model models/s2", "stacked.tif", "dates", "gdal_translate"),
    "unknown sensor": ("--ms s2.tif::sensor=sentinel-3 --model models/s2", "sentinel-3", "sentinel"),
    "other sensor than the model's": (
        "--ms 'landsat.tif::sensor=landsat-8-l2;unit=collection-2' --model models/s2",
        "landsat-8-l2",
        "sentinel-2-l2a",
        "::sensor=",
    ),
    "unknown option of an input": ("--ms scene.tif::colour=red", "colour", "sensor, date, bands"),
    "option of an input without value": ("--ms scene.tif::date=", "date="),
    "no date": ("--ms scene.tif::date=yesterday", "yesterday", "YYYY-MM-DD"),
    "day that does not exist": ("--ms scene.tif::date=2024-02-30", "2024-02-30", "YYYY-MM-DD"),
    "unknown unit": ("--ms scene.tif::unit=furlong", "furlong", "reflectance"),
    "offset that is no number": ("--ms scene.tif::offset=none", "none", "offset"),
    "offset that is not finite": ("--ms scene.tif::offset=nan", "offset nan"),
    "scale 0": ("--ms scene.tif::scale=0", "scale 0"),
    "nodata that is no number": ("--ms scene.tif::nodata=black", "black", "nodata"),
    "empty path": ("--ms ''", "path"),
    "decibel or linear": ("--sar s1.tif --model models/s1", "s1.tif", "::unit=db"),
    "offset of Sentinel-2": ("--ms s2.tif::date=2023-06-01 --model models/s2", "s2.tif", "::offset=-1000"),
    "antimeridian": ("--ms antimeridian.tif", "antimeridian.tif", "180 degrees"),
    "series without dates": ("--ms scene.tif --ms scene-2.tif --model models/series", "date", "::date="),
    "one date of a series twice": (
        "--ms scene.tif::date=2024-05-01 --ms scene-2.tif::date=2024-05-01 --model models/series",
        "scene.tif",
        "scene-2.tif",
        "2024-05-01",
        "a.tif|b.tif",
    ),
}
INPUTS = {
    "no input": ("", "no raster", "--ms"),
    "wrong modality": ("--sar s1.tif::unit=db", "--sar", "--ms"),
    "missing required input": ("--ms scene.tif --model models/pair", "SAR", "--sar"),
    "role that the model does not know": ("--ms scene.tif::role=sideways", "sideways"),
    "too many dates": ("--ms scene.tif --ms scene-2.tif", "takes one date", "2 were given", "a.tif|b.tif"),
    "too few dates": ("--ms scene.tif --model models/series", "2 to 3 dates", "one was given", "--ms"),
    "inputs that do not overlap": (
        "--ms scene.tif --sar elsewhere.tif::unit=db --model models/pair",
        "overlap",
        "elsewhere.tif",
    ),
    "pixels too large for the model": ("--ms coarse.tif", "5 to 20 m", "300 m"),
    "pixels too small for the model": ("--ms fine.tif", "5 to 20 m", "0.1 m"),
}
AREAS = {
    "area elsewhere": ("--ms scene.tif --aoi elsewhere.geojson", "elsewhere.geojson", "outside", "CRS"),
    "area missing": ("--ms scene.tif --aoi gone.gpkg", "gone.gpkg", "does not exist"),
    "area of points": ("--ms scene.tif --aoi points.geojson", "points.geojson", "polygons"),
    "area without CRS": ("--ms scene.tif --aoi no-crs.shp", "no-crs.shp", "CRS"),
    "area without features": ("--ms scene.tif --aoi empty.geojson", "empty.geojson", "no polygons"),
    "area is a raster": ("--ms scene.tif --aoi scene.tif", "scene.tif", "polygons"),
    "area is a text file": ("--ms scene.tif --aoi notes.txt", "notes.txt", "polygons"),
    "layer that the area does not have": ("--ms scene.tif --aoi 'area.gpkg|layername=x'", '"x"', "area"),
    "extent without CRS": (f"--ms scene.tif --extent {INSIDE}", "--extent-crs"),
    "CRS without extent": ("--ms scene.tif --extent-crs EPSG:32633", "--extent"),
    "extent without area": (
        "--ms scene.tif --extent 500100,4199900,500100,4199900 --extent-crs EPSG:32633",
        "extent",
        "empty",
    ),
    "extent with three numbers": ("--ms scene.tif --extent 1,2,3 --extent-crs EPSG:4326", "four numbers"),
    "extent of words": ("--ms scene.tif --extent a,b,c,d --extent-crs EPSG:4326", '"a"', "--extent"),
    "extent elsewhere": ("--ms scene.tif --extent -3,40,2,44 --extent-crs EPSG:4326", "outside", "CRS"),
    "extent over the antimeridian": (
        "--ms scene.tif --extent 179,-20,-179,20 --extent-crs EPSG:4326",
        "extent",
    ),
    "CRS of the extent unknown": (f"--ms scene.tif --extent {INSIDE} --extent-crs UTM33", "UTM33", "EPSG:"),
    "area and extent apart": (
        "--ms scene.tif --aoi area.geojson --extent 500350,4199700,500400,4199720 --extent-crs EPSG:32633",
        "overlap",
    ),
    "mask missing": ("--ms scene.tif --mask gone.tif", "gone.tif", "does not exist"),
    "mask without CRS": ("--ms scene.tif --mask no-crs.tif", "no-crs.tif", "coordinate reference system"),
    "mask elsewhere": ("--ms scene.tif --mask elsewhere.tif", "elsewhere.tif", "overlap"),
    "mask of several bands": ("--ms scene.tif --mask scene.tif", "2 bands", "gdal_translate -b"),
    "role without meaning": ("--ms scene.tif::role=before", "role", "leave it out"),
    "mask values without mask": ("--ms scene.tif --mask-values 3,8", "--mask"),
    "mask values that are words": ("--ms scene.tif --mask scene.tif --mask-values cloud", "cloud", "3,8,9"),
    "mask values that are fractions": ("--ms scene.tif --mask scene.tif --mask-values 0.5", "0.5", "whole"),
    "unknown CRS": ("--ms scene.tif --crs EPSG:0", "EPSG:0", "EPSG:32631"),
    "CRS that does not reach the scene": ("--ms scene.tif --crs '+proj=gnom +lat_0=-38 +lon_0=-165'", "CRS"),
    "resolution 0": ("--ms scene.tif --resolution 0", "resolution", "positive"),
    "negative resolution": ("--ms scene.tif --resolution -10", "resolution", "positive"),
    "resolution that is no number": ("--ms scene.tif --resolution nan", "resolution", "positive"),
    "resolution that is a word": ("--ms scene.tif --resolution fine", "fine", "--resolution"),
    "resolution in metres for degrees": (
        "--ms scene.tif --crs EPSG:4326 --resolution 10",
        "resolution of 10",
        "degree",
        "10 m",
    ),
    "resolution in degrees for metres": ("--ms scene.tif --resolution 0.0001", "resolution of 0.0001", "metre"),
    "grid missing": ("--ms scene.tif --grid gone.tif", "gone.tif", "does not exist"),
    "grid without CRS": ("--ms scene.tif --grid no-crs.tif", "no-crs.tif", "coordinate reference system"),
    "grid elsewhere": ("--ms scene.tif --grid elsewhere.tif", "elsewhere.tif", "overlap"),
    "negative minimum area": ("--ms scene.tif --min-area -1", "minimum area", "0 or more"),
    "minimum area that is no number": ("--ms scene.tif --min-area nan", "minimum area", "0 or more"),
    "negative simplification": ("--ms scene.tif --simplify -2 --polygons out.gpkg", "simplification", "0 or more"),
    "simplification without polygons": ("--ms scene.tif --simplify 2", "--polygons"),
    "overlap 1": ("--ms scene.tif --overlap 1", "overlap", "less than 1"),
    "negative overlap": ("--ms scene.tif --overlap -0.1", "overlap", "at least 0"),
}
OUTPUTS = {
    "folder of the output missing": ("--ms scene.tif --output gone/out.tif", "gone", "does not exist", "make it"),
    "output with another suffix": ("--ms scene.tif --output out.png", "out.png", ".tif"),
    "output without suffix": ("--ms scene.tif --output out", "out", ".tif"),
    "polygons with another suffix": ("--ms scene.tif --polygons out.shp", "out.shp", ".gpkg"),
    "output is the input": ("--ms scene.tif --output scene.tif --overwrite", "input"),
    "output is the input by another name": ("--ms scene.tif --output empty/../scene.tif --overwrite", "input"),
    "output is a link to the input": ("--ms scene.tif --output link.tif --overwrite", "input"),
    "output is a band of the input": ("--ms bands --output bands/B04.tif --overwrite", "bands/B04.tif", "folder"),
    "output among the bands of the input": ("--ms bands --output bands/out.tif", "bands/out.tif", "folder"),
    "output is the mask": ("--ms scene.tif --mask mask.tif --output mask.tif --overwrite", "input", "mask.tif"),
    "output is the grid": ("--ms scene.tif --grid scene-2.tif --output scene-2.tif --overwrite", "input"),
    "polygons are the area": ("--ms scene.tif --aoi area.gpkg --polygons area.gpkg --overwrite", "input"),
    "output is the confidence": ("--ms scene.tif --confidence out.tif", "same file", "--confidence"),
    "output exists": ("--ms scene.tif --output taken.tif", "taken.tif", "--resume", "--overwrite"),
    "confidence exists": ("--ms scene.tif --confidence taken.tif", "taken.tif", "--overwrite"),
    "parts exist": ("--ms scene.tif --output begun.tif", "begun.tif.parts", "--resume", "--overwrite"),
    "parts of another program": ("--ms scene.tif --output begun.tif --resume", "begun.tif.parts", "--overwrite"),
    "parts that are not ours to delete": ("--ms scene.tif --output begun.tif --overwrite", "begun.tif.parts"),
    "output is a folder": ("--ms scene.tif --output folder.tif", "folder.tif", "is a folder"),
    "no output": ("--ms scene.tif --output", "--output"),
    "resume and overwrite": ("--ms scene.tif --resume --overwrite", "--resume", "--overwrite"),
}
MODELS = {
    "no model": ("--ms scene.tif --model ''", "no model", "--model water-baseline-s2"),
    "unknown model": ("--ms scene.tif --model water-basline-s3", '"water-basline-s3"', "models list"),
    "unknown version of a model": ("--ms scene.tif --model light@9.9.9", "light@9.9.9"),
    "folder that is no model": ("--ms scene.tif --model empty", "empty", "model.json"),
    "zip that is not installed": ("--ms scene.tif --model model.zip", "model.zip", "models install"),
    "damaged model": ("--ms scene.tif --model models/damaged", "models/damaged", "model.onnx", "install"),
    "model with a pickle": ("--ms scene.tif --model models/hostile", "models/hostile", "weights.pkl", "safetensors"),
    "document that was changed": ("--ms scene.tif --model models/garbage", "models/garbage", "model.json"),
    "head without its encoder": ("--ms scene.tif --model models/head", "encoder", "models install"),
    "two bundles": (
        "--ms scene.tif --model models/light --model models/s2",
        "light",
        "red-infrared",
        "one after another",
    ),
    "heads of different encoders": ("--ms scene.tif --model models/encoder --model models/foreign-head", "encoder"),
    "encoder alone": ("--ms scene.tif --model models/encoder", "encoder", "add a head"),
    "the same model twice": ("--ms scene.tif --model models/light --model models/light", "light"),
    "device absent": ("--ms scene.tif --device cuda:7", "cuda:7", "cpu"),
    "unknown device": ("--ms scene.tif --device tpu", "tpu", "cpu"),
    "precision not offered": ("--ms scene.tif --precision int8", "int8", "fp32"),
    "unknown precision": ("--ms scene.tif --precision fp8", "fp8", "fp32"),
    "runtime not offered": ("--ms scene.tif --runtime torch", "torch", "onnxruntime"),
    "memory too small": ("--ms scene.tif --memory 100MB", "100 MB", "500 MB"),
    "memory that is no size": ("--ms scene.tif --memory lots", "lots", "2GB"),
    "memory in a wrong unit": ("--ms scene.tif --memory 2GHz", "2GHz", "2GB"),
    "negative batch": ("--ms scene.tif --batch -1", "batch", "1 or more"),
    "batch that is no number": ("--ms scene.tif --batch many", "many", "--batch"),
}
# Whole command lines.
COMMANDS = {
    "no command": ("", "needs a command", "inspect"),
    "unknown command": ("segmnt --ms scene.tif", "segmnt", "segment"),
    "unknown option": ("segment --ms scene.tif --output out.tif --tiles 4", "--tiles", "--help"),
    "option without value": ("segment --output out.tif --model models/light --ms", "--ms"),
    "no output at all": ("segment --ms scene.tif --model models/light", "--output"),
    "plan of nothing": ("plan", "needs a task", "segment"),
    "plan of an unknown task": ("plan paint", "paint", "segment"),
    "plan of a missing file": ("plan segment --ms gone.tif --model models/light --output out.tif", "gone.tif"),
    "inspect nothing": ("inspect", "needs a raster"),
    "inspect a missing file": ("inspect gone.tif", "gone.tif", "does not exist"),
    "inspect a text file": ("inspect notes.txt", "notes.txt", "raster"),
    "inspect an empty folder": ("inspect empty", "empty", "no raster"),
    "models without action": ("models", "needs an action", "list"),
    "unknown action": ("models delete light", "delete", "remove"),
    "describe an unknown model": ("models describe nothing", "nothing", "models list"),
    "describe a damaged model": ("models describe models/damaged", "model.onnx"),
    "verify an unknown model": ("models verify nothing", "nothing"),
    "install nothing": ("models install gone.zip", "gone.zip"),
    "install an unsafe package": ("models install models/hostile", "weights.pkl"),
    "install a text file": ("models install notes.txt", "notes.txt"),
    "remove an unknown model": ("models remove nothing", "nothing"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one good scene and everything that can be wrong."""
    folder = tmp_path_factory.mktemp("bad")
    _good_rasters(folder)
    _bad_rasters(folder)
    _areas(folder)
    _models(folder / "models")
    (folder / "folder.tif").mkdir()
    (folder / "begun.tif.parts").mkdir()
    (folder / "begun.tif.parts" / "notes.txt").write_text("mine")
    shutil.copy(folder / "scene.tif", folder / "taken.tif")
    (folder / "link.tif").symlink_to(folder / "scene.tif")
    return folder


def _values(count: int, grid: Grid, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(1).integers(1, 200, (count, *grid.shape)).astype(dtype)


def _good_rasters(folder: Path) -> None:
    write_raster(folder / "scene.tif", _values(2, GRID), GRID)
    write_raster(folder / "scene-2.tif", _values(2, GRID), GRID)
    write_raster(folder / "mask.tif", np.zeros((1, *GRID.shape), np.uint8), GRID)
    (folder / "bands").mkdir()
    for name in ("B04", "B08"):
        write_raster(folder / "bands" / f"{name}.tif", _values(1, GRID, "uint16"), GRID)
    turned = Grid(UTM33, GRID.transform @ Affine.rotation(20), GRID.width, GRID.height)
    write_raster(folder / "rotated.tif", _values(2, turned), turned)


def _bad_rasters(folder: Path) -> None:
    for name, bands in (
        ("s2", ("B02", "B03", "B04", "B08")),
        ("s2-rgb", ("B02", "B03", "B04")),
        ("twice", ("B04", "B08", "B03", "B04")),
        ("stacked", ("B04", "B08", "B04", "B08")),
        ("landsat", ("B4", "B5")),
        ("s1", ("VV", "VH")),
    ):
        path = folder / f"{name}.tif"
        write_raster(path, _values(len(bands), GRID, "float32" if name == "s1" else "uint16"), GRID)
        with rasterio.open(path, "r+") as dataset:
            dataset.descriptions = bands
    write_raster(folder / "one-band.tif", _values(1, GRID), GRID)
    write_raster(folder / "palette.tif", _values(1, GRID), GRID, photometric="palette")
    with rasterio.open(folder / "palette.tif", "r+") as dataset:
        dataset.write_colormap(1, {value: (value, 0, 0, 255) for value in range(256)})
    write_raster(folder / "no-crs.tif", _values(2, GRID), GRID, crs=None)
    write_raster(folder / "slc.tif", _values(2, GRID, "complex64"), GRID)
    points = [GroundControlPoint(row, col, 14 + col / 1e4, 38 - row / 1e4) for row in (0, 30) for col in (0, 40)]
    write_raster(folder / "gcps.tif", _values(2, GRID), GRID, crs=WGS84, transform=Affine.identity(), gcps=points)
    far = utm_grid(40, 30, left=700_000, top=5_000_000)
    write_raster(folder / "elsewhere.tif", _values(2, far, "float32"), far)
    with rasterio.open(folder / "elsewhere.tif", "r+") as dataset:
        dataset.descriptions = ("VV", "VH")
    for name, pixel in (("coarse", 300), ("fine", 0.1)):
        write_raster(folder / f"{name}.tif", _values(2, GRID), utm_grid(40, 30, pixel))
    edge = Grid(WGS84, Affine(1e-4, 0, 179.998, 0, -1e-4, 10), 40, 30)
    write_raster(folder / "antimeridian.tif", _values(2, edge), edge)
    whole = (folder / "scene.tif").read_bytes()
    (folder / "truncated.tif").write_bytes(whole[: len(whole) // 2])
    (folder / "text.tif").write_text("this is no raster")
    (folder / "notes.txt").write_text("this is no raster")
    (folder / "model.zip").write_bytes(b"PK")
    (folder / "empty").mkdir()


def _areas(folder: Path) -> None:
    left, bottom, right, top = GRID.bounds
    box = shapely.box(left + 50, bottom + 50, right - 200, top - 50)
    for name, geometry, crs in (
        ("area.geojson", box, "EPSG:32633"),
        ("area.gpkg", box, "EPSG:32633"),
        ("elsewhere.geojson", shapely.box(3, 40, 4, 41), "EPSG:4326"),
        ("points.geojson", shapely.Point(left + 5, bottom + 5), "EPSG:32633"),
        ("no-crs.shp", box, None),
    ):
        kind = "Point" if name.startswith("points") else "Polygon"
        pyogrio.raw.write(
            folder / name,
            np.array([shapely.to_wkb(geometry)]),
            [np.array([1])],
            ["number"],
            geometry_type=kind,
            crs=crs,
        )
    (folder / "empty.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": []}))


def _models(folder: Path) -> None:
    scratch = folder.parent.parent / "scratch"
    radar = tuple(BandNeed(name, polarisation=name) for name in ("VV", "VH"))
    colours = (BandNeed("red", 650, 100), BandNeed("green", 550, 100), BandNeed("blue", 470, 100))
    sentinel = {"unit": "reflectance", "sensors": ("sentinel-2-l2a", "sentinel-2-l1c")}
    encoder, heads = packages.encoder_and_heads(scratch / "one", 1, bands=2, window=32)
    _, foreign = packages.encoder_and_heads(scratch / "two", 1, bands=2, window=32, seed=2)
    built = {
        "light": packages.identity_package(scratch, 2, 32, name="light", slot={"gsd_m": (5.0, 20.0)}),
        "s2": packages.identity_package(
            scratch, 2, 32, name="red-infrared", slot={"bands": (RED, INFRARED), **sentinel}
        ),
        "s1": packages.identity_package(
            scratch, 2, 32, name="radar", slot={"modality": "sar", "unit": "db", "bands": radar}
        ),
        "rgb": packages.identity_package(scratch, 3, 32, name="colours", slot={"modality": "hr", "bands": colours}),
        "pair": packages.two_sensor_package(scratch, 32, name="pair"),
        "series": packages.series_package(scratch, 2, 32, name="series", dates=(2, 3)),
        "encoder": encoder,
        "head": heads[0],
        "foreign-head": foreign[0],
    }
    folder.mkdir()
    for name, package in built.items():
        package.root.rename(folder / name)
    for name in ("damaged", "hostile", "garbage"):
        shutil.copytree(folder / "light", folder / name)
    with (folder / "damaged" / "model.onnx").open("ab") as file:
        file.write(b"x")
    (folder / "hostile" / "weights.pkl").write_bytes(b"\x80\x04\x95pickled")
    (folder / "garbage" / "model.json").write_text("{")


def _lines(table: dict[str, tuple[str, ...]]) -> list[object]:
    return [pytest.param(line, words, id=name) for name, (line, *words) in table.items()]


def _segment(options: str) -> list[str]:
    """The arguments of a `segment` command that gets what it does not name from a good example."""
    given = shlex.split(options)
    defaults = {"--model": "models/light", "--output": "out.tif"}
    return ["segment", *given, *(part for pair in defaults.items() if pair[0] not in given for part in pair)]


@pytest.mark.parametrize(
    ("options", "words"),
    [*_lines(RASTERS), *_lines(INPUTS), *_lines(AREAS), *_lines(OUTPUTS), *_lines(MODELS)],
)
def test_segment(folder: Path, monkeypatch: pytest.MonkeyPatch, options: str, words: list[str]) -> None:
    _refused_without_a_trace(folder, monkeypatch, _segment(options), words)


@pytest.mark.parametrize(("line", "words"), _lines(COMMANDS))
def test_command(folder: Path, monkeypatch: pytest.MonkeyPatch, line: str, words: list[str]) -> None:
    _refused_without_a_trace(folder, monkeypatch, shlex.split(line), words)


def _refused_without_a_trace(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: list[str]
) -> None:
    monkeypatch.chdir(folder)
    before = snapshot(folder)
    sentence = refused(*arguments)
    assert [word for word in words if word not in sentence] == [], sentence
    assert snapshot(folder) == before


def test_a_file_that_breaks_off_is_named_and_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    before = snapshot(folder)
    outcome = earthprism(*_segment("--ms truncated.tif"))
    assert outcome.code == 2 and outcome.out == ""
    sentence = one_sentence(outcome.err.splitlines()[-1])
    assert "truncated.tif" in sentence and "check the file" in sentence
    assert all(line.startswith("segmenting") for line in outcome.err.splitlines()[:-1])
    assert snapshot(folder) == before


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (_segment("--ms gone.tif"), "source", "gone.tif"),
        (_segment("--ms scene.tif --overlap 2"), "parameter", "overlap"),
        (_segment("--ms scene.tif --model nothing"), "package", "nothing"),
        (_segment("--ms scene.tif --extent -3,40,2,44 --extent-crs EPSG:4326"), "grid", "extent"),
        (_segment("--ms scene.tif --device cuda:7"), "device", "cuda:7"),
        (_segment("--ms scene.tif --output gone/out.tif"), "output", "gone"),
        (_segment("--ms scene.tif --output taken.tif"), "resume", "taken.tif"),
        (["inspect", "gone.tif"], "source", "gone.tif"),
        (["models", "describe", "nothing"], "package", "nothing"),
        (["paint"], "parameter", "paint"),
    ],
)
def test_errors_as_json(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: str, word: str
) -> None:
    monkeypatch.chdir(folder)
    outcome = earthprism(*arguments, "--json")
    error = outcome.json["error"]
    assert outcome.code == 2 and set(error) == {"code", "what", "why", "fix"} and error["code"] == code
    assert word in one_sentence(outcome.err) and error["what"] in outcome.err


@pytest.mark.parametrize(
    "options",
    [
        "--ms rotated.tif",
        "--ms 'bands::sensor=sentinel-2-l2a;offset=0' --model models/s2",
        "--ms 'bands/B08.tif|bands/B04.tif::offset=-1000' --model models/s2",
        "--ms scene.tif::nodata=nan",
        "--ms scene.tif --mask mask.tif --mask-values -1,3",
        "--ms scene.tif --aoi area.gpkg",
        f"--ms scene.tif --extent {INSIDE} --extent-crs EPSG:32633",
        "--ms scene.tif --extent 14,37,16,39 --extent-crs EPSG:4326",
        "--ms coarse.tif --grid model",
        "--ms 's2.tif::sensor=Sentinel2-L2A;offset=-1000' --model models/s2",
        "--sar s1.tif::unit=db --model models/s1",
    ],
)
def test_what_is_not_wrong_after_all(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    monkeypatch.chdir(folder)
    before = snapshot(folder)
    outcome = earthprism(*_segment(f"{options} --output {tmp_path}/out.tif"))
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "out.tif").is_file() and not (tmp_path / "out.tif.parts").exists()
    assert snapshot(folder) == before


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ("--ms gone.tif", "gone.tif"),
        ("--ms text.tif", "text.tif"),
        ("--ms no-crs.tif", "no-crs.tif"),
        ("--ms scene.tif --aoi scene.tif", "scene.tif"),
        ("--ms truncated.tif", "truncated.tif"),
    ],
)
def test_in_a_process_of_its_own(folder: Path, root: Path, options: str, word: str) -> None:
    """Libraries write to the real stderr past Python; there must be nothing but our sentence."""
    before = snapshot(folder)
    process = subprocess.run(
        [sys.executable, "-m", "backend", *_segment(options)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (process.returncode, process.stdout) == (2, "")
    lines = [line for line in process.stderr.splitlines() if not line.startswith("segmenting")]
    assert word in one_sentence("\n".join(lines))
    assert snapshot(folder) == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which nobody can write")
def test_a_folder_that_refuses_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    outcome = earthprism(*_segment("--ms scene.tif --output /proc/out.tif"))
    assert outcome.code == 2 and "/proc" in one_sentence(outcome.err.splitlines()[-1])
