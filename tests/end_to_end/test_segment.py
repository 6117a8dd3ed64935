"""Every option of `segment` on generated scenes, seen from outside: the files that are there afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.features import rasterize
from rasterio.warp import transform, transform_bounds

from backend.geo.grid import Grid
from backend.manifest.package import BandNeed, ClassInfo
from tests import packages
from tests.backend.sensors.builders import raster
from tests.end_to_end.command import done, earthprism, refused, snapshot
from tests.rasters import UTM33, WGS84, utm_grid, write_raster

NODATA = 255
GRID = utm_grid(200, 160)
# Rows and columns of a block of class 1 in a scene of class 0, away from centre and symmetry.
BLOCK = (slice(30, 70), slice(120, 180))
CORNER = (slice(0, 20), slice(0, 25))  # without data
CLASSES = (ClassInfo(0, "land", "#d9c8a3"), ClassInfo(1, "water", "#1f6fb4"))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bands; the second is brighter in the block; a corner without data."""
    values = np.full((2, *GRID.shape), 100, np.uint16)
    values[1] = 50
    values[1][BLOCK] = 200
    values[:, CORNER[0], CORNER[1]] = 0
    return Path(write_raster(tmp_path_factory.mktemp("scene") / "scene.tif", values, GRID, nodata=0))


@pytest.fixture(scope="module")
def texture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four bands of smooth noise, 300 x 220 pixels."""
    grid = utm_grid(300, 220)
    coarse = np.random.default_rng(5).normal(0, 1, (4, 23, 31))
    fine = np.kron(coarse, np.ones((1, 10, 10)))[:, : grid.height, : grid.width]
    return Path(write_raster(tmp_path_factory.mktemp("texture") / "texture.tif", fine.astype("float32"), grid))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Land where the first band is brighter, else water."""
    return packages.identity_package(tmp_path_factory.mktemp("m"), 2, 64, name="brighter", classes=CLASSES).root


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random convolutions, five classes, softmax."""
    folder = tmp_path_factory.mktemp("network")
    return packages.conv_package(folder, 5, 4, 64, margin=8, activation="softmax", name="network").root


def expected() -> np.ndarray:
    """The classes of the scene."""
    classes = np.zeros(GRID.shape, np.uint8)
    classes[BLOCK] = 1
    classes[CORNER] = NODATA
    return classes


def read(path: Path | str, band: int | None = 1) -> np.ndarray:
    """A band (H, W), or all of them."""
    with rasterio.open(path) as dataset:
        return dataset.read(band)


def points() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y and class of every pixel centre of the scene that is two pixels away from any border of classes."""
    classes = expected()
    rows, cols = np.mgrid[3 : GRID.height - 3 : 2, 3 : GRID.width - 3 : 2]
    around = np.stack([classes[rows + dr, cols + dc] for dr in range(-3, 4) for dc in range(-3, 4)])
    plain = (around == around[0]).all(axis=0)
    rows, cols = rows[plain], cols[plain]
    xs, ys = GRID.transform @ (cols + 0.5, rows + 0.5)
    return xs, ys, classes[rows, cols]


def check_places(path: Path) -> Grid:
    """Every point of the scene has its class in a result on any grid, which is returned."""
    xs, ys, classes = points()
    with rasterio.open(path) as dataset:
        there = transform(UTM33, dataset.crs, xs, ys)
        cols, rows = ~dataset.transform @ (np.array(there[0]), np.array(there[1]))
        found = dataset.read(1)
        assert (
            (cols >= 0).all() and (rows >= 0).all() and (cols < dataset.width).all() and (rows < dataset.height).all()
        )
        assert (found[rows.astype(int), cols.astype(int)] == classes).all()
        assert set(np.unique(found)) == {0, 1, NODATA}
        return Grid(dataset.crs, dataset.transform, dataset.width, dataset.height)


# --- what is written


def test_only_what_was_asked_for_is_written(scene: Path, model: Path, tmp_path: Path) -> None:
    result = done("segment", "--ms", scene, "--model", model, "--output", tmp_path / "out.tif")
    assert (read(tmp_path / "out.tif") == expected()).all()
    assert {path.name for path in tmp_path.iterdir()} == {
        "out.tif", "out.tif.aux.xml", "out.run.json", "out.stac.json",
    }  # fmt: skip
    assert result["outputs"]["classes"] == [str(tmp_path / "out.tif")] and result["outputs"]["polygons"] == []
    with rasterio.open(tmp_path / "out.tif") as dataset:
        assert (dataset.crs, dataset.transform, dataset.shape) == (GRID.crs, GRID.transform, GRID.shape)
        assert (
            dataset.nodata == NODATA
            and dataset.dtypes == ("uint8",)
            and dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        )


def test_answer_and_lines_for_people(scene: Path, model: Path, tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    every = [("--confidence", "c.tif"), ("--probabilities", "p.tif"), ("--polygons", "v.gpkg"), ("--output", "out.tif")]
    options = [part for option, name in every for part in (option, tmp_path / name)]
    outcome = earthprism("segment", "--ms", scene, "--model", model, *options)
    assert outcome.code == 0
    assert all(str(tmp_path / name) in outcome.out for _, name in every) and "windows" in outcome.out
    assert "segmenting" in outcome.err and "100%" in outcome.err
    names = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1}
    kinds = ("classes", "confidence", "probabilities", "polygons")
    number = {"type": "number", "minimum": 0}
    area = {"required": ["value", "name", "pixels", "area_m2"], "properties": {"area_m2": number}}
    outputs = {
        **dict.fromkeys(kinds, names),
        "polygon_count": {"type": "array"},
        "class_areas": {"type": "array", "items": {"type": "array", "items": area}, "minItems": 1, "maxItems": 1},
        "run": {"type": "string"},
        "stac": {"type": "string"},
    }
    schema = {
        "type": "object",
        "required": ["outputs", "windows", "seconds", "compute", "models", "warnings"],
        "additionalProperties": False,
        "properties": {
            "outputs": {"required": list(outputs), "additionalProperties": False, "properties": outputs},
            "windows": {"type": "integer", "minimum": 1},
            "seconds": {"type": "number", "minimum": 0},
            "compute": {"required": ["runtime", "precision", "device", "batch"]},
            "models": {"const": ["brighter@1.0.0"]},
            "warnings": {"const": []},
        },
    }
    answer = done("segment", "--ms", scene, "--model", model, *options, "--overwrite")
    jsonschema.validate(answer, schema)
    files = [name for kind in kinds for name in answer["outputs"][kind]]
    assert all(Path(name).is_file() for name in [*files, answer["outputs"]["run"], answer["outputs"]["stac"]])


def test_the_ground_of_each_class_is_that_of_its_polygons(scene: Path, model: Path, tmp_path: Path) -> None:
    answer = done(
        "segment", "--ms", scene, "--model", model, "--output", tmp_path / "out.tif", "--polygons", tmp_path / "v.gpkg",
    )  # fmt: skip
    classes = read(tmp_path / "out.tif")
    table = pyogrio.raw.read(tmp_path / "v.gpkg", read_geometry=False)
    columns = dict(zip(table[0]["fields"], table[3], strict=True))
    (areas,) = answer["outputs"]["class_areas"]
    assert [found["pixels"] for found in areas] == [(classes == found["value"]).sum() for found in areas]
    assert sum(found["pixels"] > 0 for found in areas) > 1
    for found in areas:
        assert found["area_m2"] == pytest.approx(
            columns["area_m2"][columns["class_id"] == found["value"]].sum(), rel=1e-3
        )
    run = json.loads((tmp_path / "out.run.json").read_text())
    assert run["class_areas"] == answer["outputs"]["class_areas"] and "class_areas" not in run["outputs"]


def test_what_is_taken_for_granted_is_said_by_every_command(tmp_path: Path) -> None:
    scene = raster(tmp_path / "S2_L2A_20200613.tif", ["B02", "B03", "B04", "B08"], size=64)
    bands = (BandNeed("B04", 664.6, 31), BandNeed("B08", 832.8, 106))
    model = packages.identity_package(tmp_path / "model", 2, 32, slot={"bands": bands, "unit": "reflectance"}).root
    told = f"{scene}::date=2019-05-01"
    job = ("segment", "--ms", told, "--model", model, "--output", tmp_path / "out.tif")
    doubts = set(done("inspect", told)["doubts"])
    assert any("2020-06-13" in doubt for doubt in doubts) and any("no offset" in doubt for doubt in doubts)
    assert set(done("plan", *job)["warnings"]) == doubts
    outcome = earthprism(*job)
    assert outcome.code == 0 and all(f"warning: {doubt}\n" in outcome.err for doubt in doubts)
    assert set(done(*job, "--overwrite")["warnings"]) == doubts


def test_scores_agree_with_classes(texture: Path, network: Path, tmp_path: Path) -> None:
    done(
        "segment", "--ms", texture, "--model", network, "--output", tmp_path / "out.tif",
        "--confidence", tmp_path / "c.tif", "--probabilities", tmp_path / "p.tif",
    )  # fmt: skip
    classes, levels = read(tmp_path / "out.tif"), read(tmp_path / "p.tif", None)
    with rasterio.open(tmp_path / "p.tif") as dataset:
        assert dataset.descriptions == tuple(f"class {k}" for k in range(5)) and dataset.nodata == NODATA
        shares = levels * dataset.scales[0]
    with rasterio.open(tmp_path / "c.tif") as dataset:
        confidence = dataset.read(1) * dataset.scales[0]
    half_step = 0.002
    assert np.abs(shares.sum(axis=0) - 1).max() <= 5 * half_step + 1e-6
    assert np.abs(confidence - shares.max(axis=0)).max() < 1e-6
    first, second = np.sort(shares, axis=0)[[-1, -2]]
    clear = first - second > 2 * half_step
    assert clear.mean() > 0.5 and (shares.argmax(axis=0) == classes)[clear].all()
    assert len(np.unique(classes)) > 2


def test_polygons_are_the_raster(texture: Path, network: Path, tmp_path: Path) -> None:
    answer = done(
        "segment", "--ms", texture, "--model", network, "--output", tmp_path / "out.tif",
        "--polygons", tmp_path / "out.gpkg",
    )  # fmt: skip
    classes = read(tmp_path / "out.tif")
    meta, _, wkb, fields = pyogrio.raw.read(tmp_path / "out.gpkg")
    columns = dict(zip(meta["fields"], fields, strict=True))
    shapes = shapely.from_wkb(wkb)
    assert (
        answer["outputs"]["polygon_count"] == [len(shapes)] and rasterio.crs.CRS.from_user_input(meta["crs"]) == UTM33
    )
    assert {"class_id", "class", "area_m2"} <= set(columns)
    assert all(columns["class"] == [f"class {value}" for value in columns["class_id"]])
    assert shapely.is_valid(shapes).all()
    # the scale of UTM near its central meridian is 0.9996
    assert np.allclose(columns["area_m2"], shapely.area(shapes) / 0.9996**2, rtol=1e-3)
    grid = utm_grid(300, 220)
    burnt = rasterize(
        zip(shapes, columns["class_id"], strict=True), out_shape=grid.shape, transform=grid.transform, fill=NODATA
    )
    assert (burnt == classes).all()


def test_small_areas_are_merged_and_outlines_simplified(tmp_path: Path, model: Path) -> None:
    values = np.full((2, *GRID.shape), 100, np.uint8)
    values[1] = 50
    rng = np.random.default_rng(2)
    values[1][rng.random(GRID.shape) < 0.05] = 200  # speckle
    values[1, 40:100, 60:140] = 200
    scene = write_raster(tmp_path / "scene.tif", values, GRID)
    arguments = ("segment", "--ms", scene, "--model", model, "--overwrite", "--output", tmp_path / "out.tif")
    polygons = ("--polygons", tmp_path / "out.gpkg")
    before = done(*arguments, *polygons)["outputs"]["polygon_count"][0]
    done(*arguments, *polygons, "--min-area", 5000)
    meta, _, wkb, fields = pyogrio.raw.read(tmp_path / "out.gpkg")
    areas = dict(zip(meta["fields"], fields, strict=True))["area_m2"]
    assert len(areas) < before / 20 and areas.min() >= 5000
    classes = read(tmp_path / "out.tif")
    assert (classes[45:95, 65:135] == 1).all() and abs(int((classes == 1).sum()) - 60 * 80) < 200
    corners = shapely.get_num_coordinates(shapely.from_wkb(wkb)).sum()
    done(*arguments, *polygons, "--min-area", 5000, "--simplify", 2)
    simple = shapely.from_wkb(pyogrio.raw.read(tmp_path / "out.gpkg")[2])
    assert shapely.get_num_coordinates(simple).sum() < corners
    left, bottom, right, top = GRID.bounds
    assert abs(shapely.area(simple).sum() - (right - left) * (top - bottom)) < 1  # no gaps and no overlaps
    assert (read(tmp_path / "out.tif") == classes).all()


def test_names_and_colours_reach_other_programs(scene: Path, model: Path, tmp_path: Path) -> None:
    done("segment", "--ms", scene, "--model", model, "--output", tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as dataset:
        colours = dataset.colormap(1)
        assert (colours[0], colours[1]) == ((217, 200, 163, 255), (31, 111, 180, 255))
        assert dataset.tags()["EARTHPRISM_MODEL"] == "brighter@1.0.0" and dataset.descriptions == ("class",)
    gdalinfo = shutil.which("gdalinfo")
    if gdalinfo is None:
        pytest.skip("no gdalinfo: QGIS or the GDAL tools are not installed")
    environment = {key: value for key, value in os.environ.items() if key not in ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA")}
    text = subprocess.run([gdalinfo, tmp_path / "out.tif"], capture_output=True, text=True, env=environment).stdout
    assert "GDALRasterAttributeTable" in text and "<F>water</F>" in text and "<F>land</F>" in text
    assert "1: 31,111,180,255" in text and "NoData Value=255" in text


# --- where it lands


@pytest.mark.parametrize(
    "options",
    [
        ("--crs", "EPSG:32632"),
        ("--crs", "EPSG:4326"),
        ("--crs", "EPSG:3857"),
        ("--resolution", "4"),
        ("--resolution", "17"),
        ("--crs", "EPSG:32632", "--resolution", "12.5"),
        ("--crs", "EPSG:4326", "--resolution", "0.0001"),
    ],
    ids=" ".join,
)
def test_pixels_land_in_the_right_place(scene: Path, model: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    done("segment", "--ms", scene, "--model", model, "--output", tmp_path / "out.tif", *options)
    grid = check_places(tmp_path / "out.tif")
    if "--crs" in options:
        assert grid.crs.to_string() == options[options.index("--crs") + 1]
    if "--resolution" in options:
        assert grid.pixel_size == pytest.approx((float(options[-1]),) * 2)


@pytest.mark.parametrize(
    "reference",
    [
        utm_grid(90, 90, 10.0, left=500_503.0, top=4_199_996.0),
        utm_grid(60, 60, 25.0, left=500_000.0 - 250, top=4_200_000.0 + 250),
        Grid(WGS84, Affine(1e-4, 0, 14.99, 0, -1e-4, 37.96), 400, 300),
        Grid(UTM33, Affine.translation(499_500, 4_200_700) @ Affine.rotation(-15) @ Affine.scale(8, -8), 500, 500),
    ],
    ids=["half pixels apart", "coarser", "degrees", "rotated"],
)
def test_the_grid_of_another_raster_is_taken_over(scene: Path, model: Path, tmp_path: Path, reference: Grid) -> None:
    other = write_raster(tmp_path / "grid.tif", np.zeros((1, *reference.shape), np.uint8), reference)
    done("segment", "--ms", scene, "--model", model, "--output", tmp_path / "out.tif", "--grid", other)
    with rasterio.open(tmp_path / "out.tif") as dataset:
        result = Grid(dataset.crs, dataset.transform, dataset.width, dataset.height)
        found = dataset.read(1)
    assert reference.aligned(result)
    xs, ys, classes = points()
    there = transform(UTM33, result.crs, xs, ys)
    cols, rows = ~result.transform @ (np.array(there[0]), np.array(there[1]))
    inside = (cols >= 0) & (rows >= 0) & (cols < result.width) & (rows < result.height)
    assert inside.mean() > 0.2
    assert (found[rows[inside].astype(int), cols[inside].astype(int)] == classes[inside]).all()


def test_the_model_sees_the_pixels_it_was_made_for(scene: Path, tmp_path: Path) -> None:
    """A model for 20 to 40 m on a scene of 10 m: the result has the scene's pixels again. Far from it: refused."""
    coarse = packages.identity_package(tmp_path / "m", 2, 32, classes=CLASSES, slot={"gsd_m": (20.0, 40.0)}).root
    far = packages.identity_package(tmp_path / "far", 2, 32, classes=CLASSES, slot={"gsd_m": (100.0, 400.0)}).root
    output = tmp_path / "out.tif"
    assert "--grid model" in refused("segment", "--ms", scene, "--model", far, "--output", output)
    answer = done("segment", "--ms", scene, "--model", coarse, "--output", output)
    assert any("has 10 m and is resampled to 20 m" in warning for warning in answer["warnings"])
    with rasterio.open(output) as dataset:
        assert dataset.res == (10, 10)
        found = dataset.read(1)
    assert (found[36:64, 126:174] == 1).all() and (found[80:, :100] == 0).all()


# --- which pixels


def test_a_mask_on_another_grid_takes_pixels_out(scene: Path, model: Path, tmp_path: Path) -> None:
    grid = utm_grid(70, 60, 20.0, left=GRID.bounds[0] + 200, top=GRID.bounds[3] - 200)
    values = np.full((1, *grid.shape), 4, np.uint8)
    values[0, 5:15, 10:30], values[0, 30:40, 40:50], values[0, 20, 20] = 9, 3, 0
    mask = write_raster(tmp_path / "mask.tif", values, grid)
    arguments = ("segment", "--ms", scene, "--model", model, "--output", tmp_path / "out.tif", "--overwrite")

    def masked(forbidden: np.ndarray) -> np.ndarray:
        whole = np.zeros(GRID.shape, bool)
        fine = np.repeat(np.repeat(forbidden, 2, 0), 2, 1)[: GRID.height - 20, : GRID.width - 20]
        whole[20 : 20 + fine.shape[0], 20 : 20 + fine.shape[1]] = fine
        return np.where(whole, NODATA, expected())

    for options, forbidden in (
        ((), values[0] != 0),
        (("--mask-values", "9"), values[0] == 9),
        (("--mask-values", "3,9"), np.isin(values[0], (3, 9))),
        (("--mask-values", "77"), np.zeros(grid.shape, bool)),
    ):
        done(*arguments, "--mask", mask, *options)
        assert (read(tmp_path / "out.tif") == masked(forbidden)).all()


def test_an_area_in_another_crs(scene: Path, model: Path, tmp_path: Path) -> None:
    left, top = GRID.transform @ (90, 20)
    corners = [(left, top), (left + 700, top - 90), (left + 500, top - 800), (left + 30, top - 400)]
    hole = [(left + 200, top - 200), (left + 350, top - 200), (left + 350, top - 350)]
    shape = shapely.Polygon(corners, [hole])
    lon, lat = transform(UTM33, WGS84, *shapely.get_coordinates(shapely.segmentize(shape.exterior, 20)).T)
    inner = transform(UTM33, WGS84, *np.array([*hole, hole[0]]).T)
    area = shapely.Polygon(list(zip(lon, lat, strict=True)), [list(zip(*inner, strict=True))])
    pyogrio.raw.write(
        tmp_path / "area.geojson", np.array([shapely.to_wkb(area)]), [np.array(["a"])], ["name"],
        geometry_type="Polygon", crs="EPSG:4326",
    )  # fmt: skip
    done(
        "segment", "--ms", scene, "--model", model, "--output", tmp_path / "out.tif", "--aoi", tmp_path / "area.geojson"
    )
    with rasterio.open(tmp_path / "out.tif") as dataset:
        found = dataset.read(1)
        result = Grid(dataset.crs, dataset.transform, dataset.width, dataset.height)
    offset = GRID.offset_of(result)
    assert offset == (90, 20) and abs(result.width - 70) <= 1 and abs(result.height - 80) <= 1
    rows, cols = np.mgrid[0 : result.height, 0 : result.width]
    xs, ys = result.transform @ (cols + 0.5, rows + 0.5)
    inside = shapely.contains_xy(shape, xs, ys)
    sure = shapely.distance(shape.boundary, shapely.points(xs, ys)) > 0.5  # metres
    whole = expected()[20 : 20 + result.height, 90 : 90 + result.width]
    assert (found == np.where(inside, whole, NODATA))[sure].all()
    assert (found == 1).any() and not inside.all()


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3857"])
def test_an_extent_in_any_crs(scene: Path, model: Path, tmp_path: Path, crs: str) -> None:
    wanted = GRID.crop(GRID.window_of_bounds((500_303, 4_199_208, 501_198, 4_199_702), UTM33))
    bounds = transform_bounds(UTM33, crs, 500_303, 4_199_208, 501_198, 4_199_702)
    extent = ("--extent", ",".join(map(str, bounds)), "--extent-crs", crs)
    done("segment", "--ms", scene, "--model", model, "--output", tmp_path / "out.tif", *extent)
    with rasterio.open(tmp_path / "out.tif") as dataset:
        result = Grid(dataset.crs, dataset.transform, dataset.width, dataset.height)
        found = dataset.read(1)
    offset = GRID.offset_of(result)
    assert offset is not None
    assert abs(result.width - wanted.width) <= 2 and abs(result.height - wanted.height) <= 2
    whole = expected()[offset[1] : offset[1] + result.height, offset[0] : offset[0] + result.width]
    known = found != NODATA
    assert (found[known] == whole[known]).all() and known[2:-2, 2:-2].all()


def test_area_and_extent_together(scene: Path, model: Path, tmp_path: Path) -> None:
    box = shapely.box(500_000, 4_199_000, 501_000, 4_199_600)
    pyogrio.raw.write(
        tmp_path / "area.gpkg", np.array([shapely.to_wkb(box)]), [np.array([1])], ["n"],
        geometry_type="Polygon", crs="EPSG:32633",
    )  # fmt: skip
    done(
        "segment", "--ms", scene, "--model", model, "--output", tmp_path / "out.tif", "--aoi", tmp_path / "area.gpkg",
        "--extent", "500500,4199300,503000,4199900", "--extent-crs", "EPSG:32633",
    )  # fmt: skip
    with rasterio.open(tmp_path / "out.tif") as dataset:
        assert tuple(dataset.bounds) == (500_500, 4_199_300, 501_000, 4_199_600)
        assert (dataset.read(1) == expected()[40:70, 50:100]).all()


def test_scenes_smaller_than_a_window(model: Path, tmp_path: Path) -> None:
    for width, height in ((1, 1), (5, 3), (1, 90), (70, 2)):
        values = np.full((2, height, width), 7, np.uint8)
        scene = write_raster(tmp_path / f"{width}x{height}.tif", values, utm_grid(width, height))
        output = tmp_path / f"out-{width}x{height}.tif"
        done("segment", "--ms", f"{scene}::bands=B2/B1", "--model", model, "--output", output)
        assert read(output).shape == (height, width) and (read(output) == 0).all()


# --- what goes in


def test_heads_of_one_encoder_share_a_run(tmp_path: Path) -> None:
    encoder, heads = packages.encoder_and_heads(tmp_path / "m", bands=2, window=32)
    values = np.random.default_rng(4).normal(0, 1, (2, 50, 70)).astype("float32")
    scene = write_raster(tmp_path / "scene.tif", values, utm_grid(70, 50))
    names = [part for package in (encoder, *heads) for part in ("--model", package.root)]
    answer = done(
        "segment", "--ms", scene, *names, "--output", tmp_path / "all.tif", "--confidence", tmp_path / "c.tif",
        "--polygons", tmp_path / "all.gpkg",
    )  # fmt: skip
    assert answer["models"] == [head.reference for head in heads]
    assert [Path(name).name for name in answer["outputs"]["classes"]] == ["all-tiny-head-1.tif", "all-tiny-head-2.tif"]
    assert len(answer["outputs"]["confidence"]) == len(answer["outputs"]["polygons"]) == 2
    assert not (tmp_path / "all.tif").exists()
    for head, together in zip(heads, answer["outputs"]["classes"], strict=True):
        alone = tmp_path / f"{head.name}-alone.tif"
        done("segment", "--ms", scene, "--model", encoder.root, "--model", head.root, "--output", alone)
        assert (read(alone) == read(together)).all() and len(np.unique(read(alone))) > 1


def test_a_series_is_sorted_by_date(tmp_path: Path) -> None:
    model = packages.series_package(tmp_path / "m", 2, 32, dates=(2, 4)).root
    dates = ("2024-07-01", "2024-05-01", "2023-12-24")
    scenes, total = [], np.zeros((2, 40, 45))
    for k, date in enumerate(dates):
        values = np.random.default_rng(k).integers(1, 250, (2, 40, 45)).astype("uint8")
        total += values
        # the first date is in the name only
        path = write_raster(tmp_path / (f"scene-{k}.tif" if k else f"scene_{date}.tif"), values, utm_grid(45, 40))
        scenes.append(f"{path}::date={date}" if k else path)
    arguments = [part for scene in scenes for part in ("--ms", scene)]
    planned = done("plan", "segment", *arguments, "--model", model, "--output", tmp_path / "out.tif")
    assert [item["date"] for item in planned["inputs"]] == sorted(dates)
    done("segment", *arguments, "--model", model, "--output", tmp_path / "out.tif")
    run = json.loads((tmp_path / "out.run.json").read_text())
    assert [raster["date"] for raster in run["inputs"][0]["rasters"]] == sorted(dates)
    assert (read(tmp_path / "out.tif") == total.argmax(axis=0)).all()


def test_two_sensors_and_one_that_may_be_missing(tmp_path: Path) -> None:
    optical = write_raster(tmp_path / "ms.tif", np.full((2, 40, 40), 3, np.float32), utm_grid(40, 40))
    radar = write_raster(tmp_path / "sar.tif", np.full((2, 30, 20), 5, np.float32), utm_grid(20, 30, 20.0))
    with rasterio.open(radar, "r+") as dataset:
        dataset.descriptions = ("VH", "VV")
    inputs = ("--ms", optical, "--sar", f"{radar}::unit=db")
    for required in (True, False):
        name = f"pair-{required}".lower()
        model = packages.two_sensor_package(tmp_path / "m", 32, name=name, sar_required=required).root
        done("segment", *inputs, "--model", model, "--output", tmp_path / f"{name}.tif")
        classes = read(tmp_path / f"{name}.tif")
        assert classes.shape == (40, 40) and (classes == 1).all()
    alone = done("segment", "--ms", optical, "--model", model, "--output", tmp_path / "alone.tif")
    assert (read(tmp_path / "alone.tif") == 0).all() and alone["models"] == ["pair-false@1.0.0"]


def test_the_user_knows_bands_unit_offset_and_nodata_best(tmp_path: Path) -> None:
    bands = (BandNeed("B04", 665, 31), BandNeed("B08", 833, 106))
    model = packages.identity_package(tmp_path / "m", 2, 32, slot={"bands": bands, "unit": "reflectance"}).root
    values = np.stack([np.full((20, 20), v, np.uint16) for v in (9999, 3000, 1500, 5)])
    values[:, :5] = 7777
    scene = write_raster(tmp_path / "scene.tif", values, utm_grid(20, 20))
    options = "::sensor=sentinel-2-l2a;bands=-/B08/B04/-;offset=-1000;nodata=7777"
    arguments = ("--model", model, "--probabilities", tmp_path / "p.tif", "--output", tmp_path / "out.tif")
    done("segment", "--ms", scene + options, *arguments)
    red, infrared = read(tmp_path / "p.tif", None)
    assert (red[:5] == NODATA).all() and (red[5:] == round(0.05 * 250)).all() and (infrared[5:] == 0.2 * 250).all()
    run = json.loads((tmp_path / "out.run.json").read_text())
    assert run["inputs"][0]["rasters"][0]["conversion"] == [[-1000.0, 0.0001, ""]] * 2


# --- what it says about itself


def test_plan_says_what_will_happen_and_writes_nothing(texture: Path, network: Path, tmp_path: Path) -> None:
    arguments = ("segment", "--ms", texture, "--model", network, "--output", tmp_path / "out.tif")
    before = snapshot(tmp_path)
    planned = done("plan", *arguments)
    assert snapshot(tmp_path) == before
    outcome = earthprism("plan", *arguments)
    assert outcome.code == 0 and "windows" in outcome.out and "memory" in outcome.out and "time" in outcome.out
    result = done(*arguments)
    with rasterio.open(tmp_path / "out.tif") as dataset:
        assert (planned["width"], planned["height"]) == (dataset.width, dataset.height)
        assert tuple(planned["bounds"]) == tuple(dataset.bounds) and planned["crs"] == "EPSG:32633"
        assert tuple(planned["pixel_size"]) == (10, 10)
    assert planned["windows"] == result["windows"] and planned["window"] == 64
    assert {key: value for key, value in planned["compute"].items() if key != "batch"} == {
        key: value for key, value in result["compute"].items() if key != "batch"
    }
    assert planned["chunks"] >= 1 and planned["memory_bytes"] > 1e8 and planned["seconds"] >= 0
    small = done("plan", *arguments, "--extent", "500000,4199900,500100,4200000", "--extent-crs", "EPSG:32633")
    assert small["windows"] == 1 and (small["width"], small["height"]) == (10, 10)


def test_run_description_and_stac_item(texture: Path, network: Path, tmp_path: Path) -> None:
    done(
        "segment", "--ms", f"{texture}::date=2024-05-01", "--model", network, "--output", tmp_path / "out.tif",
        "--confidence", tmp_path / "c.tif", "--polygons", tmp_path / "out.gpkg", "--min-area", 400,
        "--precision", "fp32",
    )  # fmt: skip
    run: dict[str, Any] = json.loads((tmp_path / "out.run.json").read_text())
    described = done("models", "describe", network)
    assert run["models"] == [{"name": "network@1.0.0", "sha256": described["digest"]}]
    (raster,) = run["inputs"][0]["rasters"]
    assert raster["date"] == "2024-05-01" and raster["files"][0]["size"] == texture.stat().st_size
    assert {"program", "libraries", "compute", "place", "tiling", "finished", "options", "classes"} <= set(run)
    assert run["options"]["min_area_m2"] == 400 and run["compute"]["precision"] == "fp32"
    assert str(tmp_path) not in json.dumps(run["outputs"])  # the folder may be moved
    item: dict[str, Any] = json.loads((tmp_path / "out.stac.json").read_text())
    assert item["type"] == "Feature" and item["stac_version"].startswith("1.")
    assert item["properties"]["datetime"] is None or item["properties"]["datetime"].startswith("2024-05-01")
    left, bottom, right, top = transform_bounds(UTM33, WGS84, *utm_grid(300, 220).bounds)
    assert item["bbox"] == pytest.approx([left, bottom, right, top], abs=1e-5)
    assert shapely.geometry.shape(item["geometry"]).bounds == pytest.approx((left, bottom, right, top), abs=1e-5)
    links = {Path(asset["href"]).name for asset in item["assets"].values()}
    assert links == {"out.tif", "c.tif", "out.gpkg", "out.run.json"}
    assert all((tmp_path / asset["href"]).is_file() for asset in item["assets"].values())
    names = [c["description"] for c in item["assets"]["classes"]["classification:classes"]]
    assert names == [f"class {k}" for k in range(5)]


def test_a_run_repeated_gives_the_same_file(texture: Path, network: Path, tmp_path: Path) -> None:
    arguments = ("segment", "--ms", texture, "--model", network, "--precision", "fp32")
    for batch in (1, 3, 8):
        done(
            *arguments,
            "--output",
            tmp_path / f"{batch}.tif",
            "--probabilities",
            tmp_path / f"p{batch}.tif",
            "--batch",
            batch,
        )
    for batch in (3, 8):
        assert (read(tmp_path / "1.tif") == read(tmp_path / f"{batch}.tif")).all()
        one, other = (read(tmp_path / f"p{k}.tif", None).astype(int) for k in (1, batch))
        assert np.abs(one - other).max() <= 1


def test_overlap_is_the_users_choice(texture: Path, network: Path, tmp_path: Path) -> None:
    arguments = ("plan", "segment", "--ms", texture, "--model", network, "--output", tmp_path / "out.tif")
    windows = [done(*arguments, "--overlap", share)["windows"] for share in (0, 0.25, 0.5)]
    assert windows == sorted(windows) and windows[0] == 5 * 4


# --- packages


def test_packages_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: Path) -> None:
    monkeypatch.setenv("EARTHPRISM_HOME", str(tmp_path / "home"))
    package = packages.identity_package(tmp_path / "made", 2, 64, name="mine", classes=CLASSES)

    def installed() -> set[str]:
        return {model["reference"] for model in done("models", "list")["models"] if not model["built_in"]}

    assert installed() == set()
    assert "mine" in refused("models", "describe", "mine")
    first = done("models", "install", package.root)
    assert first["reference"] == "mine@1.0.0" and not first["already_installed"]
    assert done("models", "install", package.root)["already_installed"]
    assert installed() == {"mine@1.0.0"}
    assert "mine" in earthprism("models", "list").out
    described = done("models", "describe", "mine")
    assert described["digest"] == package.digest and described["document"]["properties"]["earthprism:name"] == "mine"
    checked = done("models", "verify", "mine@1.0.0")
    assert checked["ok"] and [check["ok"] for check in checked["checks"]] == [True]
    done("segment", "--ms", scene, "--model", "mine", "--output", tmp_path / "out.tif")
    assert (read(tmp_path / "out.tif") == expected()).all()
    assert done("models", "remove", "mine")["reference"] == "mine@1.0.0"
    assert installed() == set() and "mine" in refused("models", "remove", "mine")
    archive = tmp_path / "mine.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for file in package.root.iterdir():
            target.write(file, f"{package.root.name}/{file.name}")
    assert done("models", "install", archive)["reference"] == "mine@1.0.0" and installed() == {"mine@1.0.0"}


def test_built_in_models_compute_what_their_makers_computed() -> None:
    models = [model for model in done("models", "list")["models"] if model["built_in"]]
    if not models:
        pytest.skip("no built-in model")
    for model in models:
        assert model["problem"] == "" and done("models", "verify", model["reference"])["ok"]
        assert model["name"] in refused("models", "remove", model["name"]) and Path(model["path"]).is_dir()


# --- the environment that users have

BOOTSTRAP = (
    "import sys,runpy;sys.path.insert(0,sys.argv.pop(1));runpy.run_module('backend',run_name='__main__',alter_sys=True)"
)


def test_a_map_of_a_sentinel_2_scene_without_torch(light_python: Path, root: Path, tmp_path: Path) -> None:
    """The light environment, as `scripts/earthprism` starts it: water where the infrared is dark."""
    has_torch = subprocess.run([light_python, "-I", "-c", "import torch"], capture_output=True)
    assert has_torch.returncode != 0
    grid = utm_grid(150, 130)
    bands = {"B02": 700, "B03": 900, "B04": 800, "B08": 3200, "B11": 2200, "B12": 1400}
    lake = {"B02": 500, "B03": 600, "B04": 300, "B08": 150, "B11": 60, "B12": 40}
    values = np.stack([np.full(grid.shape, number, np.uint16) for number in bands.values()])
    for k, name in enumerate(bands):
        values[k, 40:90, 50:120] = lake[name]
    values += np.random.default_rng(0).integers(0, 40, values.shape).astype(np.uint16)
    scene = tmp_path / "S2_L2A_2020-06-21.tif"
    write_raster(scene, values, grid)
    with rasterio.open(scene, "r+") as dataset:
        dataset.descriptions = tuple(bands)
    script = root / "scripts" / "earthprism"
    own = light_python == root / ".venv" / "light" / "bin" / "python" and not (root / ".venv" / "full").exists()
    command = [script] if own else [light_python, "-I", "-X", "utf8", "-u", "-c", BOOTSTRAP, root]
    done_there = subprocess.run(
        [
            *command,
            "segment",
            "--ms",
            scene,
            "--model",
            "water-baseline-s2",
            "--output",
            tmp_path / "water.tif",
            "--json",
        ],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done_there.returncode == 0, done_there.stderr
    answer = json.loads(done_there.stdout)
    assert answer["compute"]["runtime"] == "onnxruntime" and answer["compute"]["device"] == "cpu"
    water = read(tmp_path / "water.tif")
    truth = np.zeros(grid.shape, bool)
    truth[40:90, 50:120] = True
    assert ((water == 1) & truth).sum() / ((water == 1) | truth).sum() > 0.8


@pytest.mark.parametrize(
    ("change", "named"),
    [(["--min-area", "5000"], "min_area_m2"), (["--overlap", "0.5"], "stride")],
)
def test_resuming_what_another_run_finished_is_refused(
    scene: Path, model: Path, tmp_path: Path, change: list[str], named: str
) -> None:
    command = ["segment", "--ms", str(scene), "--model", str(model), "--output", str(tmp_path / "map.tif")]
    done(*command)
    before = snapshot(tmp_path)
    again = earthprism(*command, "--resume")
    assert again.code == 0 and "complete" in again.err
    other = earthprism(*command, *change, "--resume")
    assert other.code == 2 and named in other.err
    assert snapshot(tmp_path) == before


def test_a_description_that_is_there_is_not_overwritten(scene: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "map.run.json").write_text("mine")
    command = ["segment", "--ms", str(scene), "--model", str(model), "--output", str(tmp_path / "map.tif")]
    outcome = earthprism(*command)
    assert outcome.code == 2 and "map.run.json" in outcome.err
    assert (tmp_path / "map.run.json").read_text() == "mine" and not (tmp_path / "map.tif").exists()


def test_verify_counts_what_differs_not_what_cannot_be_computed() -> None:
    outcome = earthprism("models", "verify", "water-baseline-s2")
    assert outcome.code == 0 and "in order" in outcome.out and "agrees" in outcome.out
