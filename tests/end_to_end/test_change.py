"""`earthprism change` as a user calls it: differences and classes that can be computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
from affine import Affine
from rasterio.warp import transform

from backend.manifest.package import Package
from tests import packages
from tests.end_to_end.command import done, earthprism, refused, snapshot

LEFT, TOP = 500_000.0, 4_700_000.0
PIXEL = 10.0
SIDE = 96  # of the rasters; more than one window of any package here
CHANGED = (slice(24, 40), slice(56, 72))  # whole positions of the encoder


def write(
    path: Path,
    values: np.ndarray,
    pixel: float = PIXEL,
    nodata: float | None = None,
    crs: str = "EPSG:32631",
    corner: tuple[float, float] = (LEFT, TOP),
) -> Path:
    count, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype="float32", crs=crs, nodata=nodata,
        transform=Affine(pixel, 0, corner[0], 0, -pixel, corner[1]),
    ) as dataset:  # fmt: skip
        dataset.write(values.astype(np.float32))
        for band in range(count):
            dataset.set_band_description(band + 1, f"B{band + 1}")
    return path


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Its maps are means of pixels: p8 of 8 x 8."""
    return packages.pyramid_encoder(tmp_path_factory.mktemp("pyramid"), 32)


@pytest.fixture(scope="module")
def threshold(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Class 0 below 10, 1 below 20, else 2."""
    return packages.threshold_package(tmp_path_factory.mktemp("threshold"), (10, 20), window=32)


@pytest.fixture
def dates(tmp_path: Path) -> list[object]:
    """Two dates of three bands that differ in a square, where the first two bands have changed their places."""
    before = np.zeros((3, SIDE, SIDE))
    before[0], before[1] = 3, 1
    after = before.copy()
    after[0][CHANGED], after[1][CHANGED] = 1, 3
    first, second = write(tmp_path / "before.tif", before), write(tmp_path / "after.tif", after)
    return ["--before", "--ms", f"{first}::date=2019-07-01", "--after", "--ms", f"{second}::date=2023-07-01"]


def test_the_difference_of_embeddings(pyramid: Package, dates: list[object], tmp_path: Path) -> None:
    model = ["--model", pyramid.root, "--feature", "p8"]
    outputs = ["--output", tmp_path / "d.tif", "--changed", tmp_path / "c.tif", "--polygons", tmp_path / "c.gpkg"]
    result = done("change", *dates, *model, *outputs)
    expected = np.zeros((SIDE // 8, SIDE // 8))
    expected[3:5, 7:9] = 1 - 6 / 10  # 1 - cosine of (3, 1) and (1, 3)
    np.testing.assert_allclose(read(tmp_path / "d.tif")[0], expected, atol=1e-6)
    with rasterio.open(tmp_path / "d.tif") as dataset:
        assert dataset.transform == Affine(80, 0, LEFT, 0, -80, TOP) and np.isnan(dataset.nodata)
        assert dataset.descriptions == ("1 - cosine similarity",)
    np.testing.assert_array_equal(read(tmp_path / "c.tif")[0], expected > 0.2)
    areas = {area["name"]: area["area_m2"] for area in result["outputs"]["class_areas"][0]}
    assert areas["changed"] == pytest.approx(4 * 80**2, rel=0.01)
    found = pyogrio.read_info(tmp_path / "c.gpkg")
    assert found["features"] == 2 and result["outputs"]["polygon_count"] == [2]
    described = json.loads((tmp_path / "d.run.json").read_text())
    assert described["task"] == "change" and 0 < described["threshold"][0] <= 0.4
    assert [len(item["rasters"]) for item in described["inputs"]] == [1, 1]
    assert not (tmp_path / "d.tif.parts").exists()


def test_dates_on_different_grids_and_where_one_lacks_there_is_nothing(pyramid: Package, tmp_path: Path) -> None:
    """The later date has pixels of 20 m in another zone; both are constant, so that resampling changes nothing."""
    values = np.ones((3, SIDE, SIDE)) * np.array([4, 3, 0])[:, None, None]
    values[:, :16] = -1  # two rows of positions have no data before
    first = write(tmp_path / "before.tif", values, nodata=-1)
    (left,), (top,) = transform("EPSG:32631", "EPSG:32632", [LEFT - 500], [TOP + 500])
    second = write(
        tmp_path / "after.tif", np.ones((3, 120, 120)) * np.array([3, 4, 0])[:, None, None], 20,
        crs="EPSG:32632", corner=(left, top),
    )  # fmt: skip
    inputs = ["--before", "--ms", first, "--after", "--ms", second]
    done("change", *inputs, "--model", pyramid.root, "--feature", "p8", "--output", tmp_path / "d.tif")
    found = read(tmp_path / "d.tif")[0]
    assert np.isnan(found[:2]).all()
    np.testing.assert_allclose(found[2:], 1 - 24 / 25, atol=1e-5)
    done("change", *inputs, "--model", pyramid.root, "--feature", "p8", "--output", tmp_path / "part.tif",
         "--extent", f"{LEFT + 320},{TOP - 640},{LEFT + 640},{TOP - 320}", "--extent-crs", "EPSG:32631")  # fmt: skip
    np.testing.assert_array_equal(read(tmp_path / "part.tif")[0], found[4:8, 4:8])


def test_an_encoder_of_several_sensors_needs_both_dates_everywhere(tmp_path: Path) -> None:
    encoder = packages.staged_encoder(tmp_path / "staged")
    early = np.ones((2, 24, 24))
    early[:, :6] = -1
    late = np.ones((2, 24, 24)) * np.array([1, 3])[:, None, None]
    late[:, :, :8] = -1
    inputs = []
    for role, values in (("before", early), ("after", late)):
        inputs += [f"--{role}", "--ms", write(tmp_path / f"{role}.tif", values, 4.0, -1.0)]
    done("change", *inputs, "--model", encoder.root, "--output", tmp_path / "d.tif")
    found = read(tmp_path / "d.tif")[0]
    assert np.isnan(found[:3]).all() and np.isnan(found[:, :4]).all()
    np.testing.assert_allclose(found[3:, 4:], 1 - 4 / np.sqrt(2 * 10), atol=1e-6)


def scene_of_classes(folder: Path) -> tuple[list[object], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    before, after = (rng.integers(0, 3, (SIDE // 8, SIDE // 8)).repeat(8, 0).repeat(8, 1) for _ in range(2))
    inputs: list[object] = []
    for role, classes in (("before", before), ("after", after)):
        inputs += [f"--{role}", "--ms", write(folder / f"{role}.tif", 10.0 * classes[None] + 5)]
    return inputs, before, after


def test_classes_of_both_dates_are_compared(threshold: Package, tmp_path: Path) -> None:
    inputs, before, after = scene_of_classes(tmp_path)
    outputs = [
        "--output", tmp_path / "c.tif", "--confidence", tmp_path / "s.tif", "--probabilities", tmp_path / "p.tif",
    ]  # fmt: skip
    result = done("change", *inputs, "--model", threshold.root, *outputs)
    found = read(tmp_path / "c.tif")[0]
    np.testing.assert_array_equal(found, np.where(before == after, 0, before * 3 + after + 1))
    np.testing.assert_array_equal(read(tmp_path / "p.tif")[0], np.where(before == after, 0, 250))
    np.testing.assert_array_equal(read(tmp_path / "s.tif")[0], 250)
    areas = {area["name"]: area for area in result["outputs"]["class_areas"][0]}
    assert areas["class 2 to class 0"]["pixels"] == ((before == 2) & (after == 0)).sum()
    assert areas["unchanged"]["value"] == 0


def test_a_change_head_sees_both_dates(pyramid: Package, tmp_path: Path) -> None:
    before = np.full((3, SIDE, SIDE), 0.5)
    after = before.copy()
    after[0][CHANGED] += 2.4  # of the mean 0.8
    inputs = ["--before", "--ms", write(tmp_path / "before.tif", before)]
    inputs += ["--after", "--ms", write(tmp_path / "after.tif", after)]
    head = packages.change_head(tmp_path / "head", pyramid)
    models = ["--model", pyramid.root, "--model", head.root]
    outputs = ["--output", tmp_path / "c.tif", "--probabilities", tmp_path / "p.tif", "--polygons", tmp_path / "c.gpkg"]
    result = done("change", *inputs, *models, *outputs)
    expected = np.zeros((SIDE, SIDE), int)
    expected[CHANGED] = 1
    np.testing.assert_array_equal(read(tmp_path / "c.tif")[0], expected)
    np.testing.assert_array_equal(read(tmp_path / "p.tif"), np.stack([250 - 200 * expected, 200 * expected]))
    assert result["outputs"]["polygon_count"] == [2]


def test_a_head_of_semantic_change_says_what_became_what(pyramid: Package, dates: list[object], tmp_path: Path) -> None:
    head = packages.change_head(tmp_path / "head", pyramid, semantic=True)
    models = ["--model", pyramid.root, "--model", head.root]
    outputs = ["--output", tmp_path / "c.tif", "--probabilities", tmp_path / "p.tif"]
    result = done("change", *dates, *models, *outputs)
    found = read(tmp_path / "c.tif")[0]
    assert (found[CHANGED] == 2).all() and (found == 0).sum() == SIDE**2 - 16**2
    assert [area["name"] for area in result["outputs"]["class_areas"][0]] == ["unchanged", "class 0 to class 1"]
    one = 1 / (1 + np.exp(-2))  # the probability of class 0 before, and of class 1 after
    expected = {True: 1 - 2 * one * (1 - one), False: 1 - one**2 - (1 - one) ** 2}
    probabilities = read(tmp_path / "p.tif")[0] / 250
    np.testing.assert_allclose(probabilities, np.where(found == 2, expected[True], expected[False]), atol=0.003)


def test_an_interrupted_run_goes_on(pyramid: Package, dates: list[object], tmp_path: Path) -> None:
    job = ["change", *dates, "--model", pyramid.root, "--feature", "p8", "--output", tmp_path / "d.tif"]
    done(*job)
    whole = read(tmp_path / "d.tif")
    assert done(*job, "--resume")["windows"] == 0
    assert "exist" in refused(*job)
    done(*job, "--overwrite")
    np.testing.assert_array_equal(read(tmp_path / "d.tif"), whole)
    changed = ["--changed", tmp_path / "c.tif"]
    assert earthprism(*job, *changed, "--resume").code == 2


def test_what_makes_no_sense_is_said(pyramid: Package, threshold: Package, dates: list[object], tmp_path: Path) -> None:
    output = ["--output", tmp_path / "d.tif"]
    before = snapshot(tmp_path)
    encoder, head = ["--model", pyramid.root, "--feature", "p8"], ["--model", threshold.root]
    assert "no raster of the later date" in refused("change", *dates[:3], *encoder, *output)
    assert "--before or --after in front" in refused("change", "--ms", dates[2], *dates, *encoder, *output)
    assert "of the later date" in refused("change", *dates, "--ms", dates[2], *encoder, *output)
    assert "--changed has no meaning" in refused("change", *dates, *head, *output, "--changed", tmp_path / "c.tif")
    assert "knows no classes" in refused("change", *dates, *encoder, *output, "--confidence", tmp_path / "c.tif")
    assert "--polygons needs --changed" in refused(
        "change", *dates, *encoder, *output, "--polygons", tmp_path / "c.gpkg"
    )
    odd = [*output, "--changed", tmp_path / "c.tif", "--threshold", "percentile:100"]
    assert "no threshold" in refused("change", *dates, *encoder, *odd)
    assert snapshot(tmp_path) == before
