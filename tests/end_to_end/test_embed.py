"""`earthprism embed` as a user calls it: real processes, real rasters, embeddings that can be computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from backend.manifest.package import Package
from tests import packages
from tests.end_to_end.command import earthprism

LEFT, TOP = 500_000.0, 4_700_000.0
SIDE = 104  # pixels of the fine raster; 13 positions of 8 px, more than one window
FINE, COARSE = 1.0, 4.0  # metres


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return packages.staged_encoder(tmp_path_factory.mktemp("staged"))


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> tuple[Package, list[Package]]:
    return packages.encoder_and_heads(tmp_path_factory.mktemp("heads"))


def write(path: Path, values: np.ndarray, pixel: float, nodata: float | None = None, crs: str = "EPSG:32631") -> Path:
    count, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype="float32", crs=crs, nodata=nodata,
        transform=Affine(pixel, 0, LEFT, 0, -pixel, TOP),
    ) as dataset:  # fmt: skip
        dataset.write(values)
        for band in range(count):
            dataset.set_band_description(band + 1, f"B{band + 1}")
    return path


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 2, shape).astype(np.float32)


def pooled(values: np.ndarray, side: int) -> np.ndarray:
    count, height, width = values.shape
    return values.reshape(count, height // side, side, width // side, side).mean(axis=(2, 4))


def embedding(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        assert dataset.dtypes == ("float32",) * dataset.count and np.isnan(dataset.nodata)
        return dataset.read()


@pytest.fixture
def hr(tmp_path: Path) -> Path:
    return write(tmp_path / "hr.tif", noise(1, SIDE, SIDE), FINE)


@pytest.fixture
def ms(tmp_path: Path) -> Path:
    return write(tmp_path / "ms.tif", noise(2, SIDE // 4, SIDE // 4, seed=1), COARSE)


def test_one_sensor(encoder: Package, hr: Path, tmp_path: Path) -> None:
    done = earthprism("embed", "--hr", hr, "--model", encoder.root, "--output", tmp_path / "e.tif", "--json")
    assert done.code == 0, done.err
    found = embedding(tmp_path / "e.tif")
    with rasterio.open(hr) as dataset:
        expected = pooled(dataset.read(), 8)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
    np.testing.assert_array_equal(found[1], 0)
    with rasterio.open(tmp_path / "e.tif") as dataset:
        assert dataset.transform == Affine(8, 0, LEFT, 0, -8, TOP) and dataset.crs.to_epsg() == 32631
        assert dataset.descriptions == ("fused 1", "fused 2")
    result = json.loads(done.out)
    assert result["outputs"]["embedding"] == [str(tmp_path / "e.tif")] and result["windows"] == 16
    described = json.loads((tmp_path / "e.run.json").read_text())
    assert described["task"] == "embed" and described["outputs"]["embedding"] == ["e.tif"]
    assert not (tmp_path / "e.tif.parts").exists()


def test_two_sensors_each_on_its_own_pixels(encoder: Package, hr: Path, ms: Path, tmp_path: Path) -> None:
    done = earthprism("embed", "--hr", hr, "--ms", ms, "--model", encoder.root, "--output", tmp_path / "e.tif")
    assert done.code == 0, done.err
    with rasterio.open(hr) as fine, rasterio.open(ms) as coarse:
        one, other = pooled(fine.read(), 8), pooled(coarse.read(), 2)
    found = embedding(tmp_path / "e.tif")
    np.testing.assert_allclose(found[0], (one[0] + other[0]) / 2, atol=1e-5)
    np.testing.assert_allclose(found[1], other[1] / 2, atol=1e-5)


def test_a_gap_in_one_date_is_filled_by_the_others(encoder: Package, tmp_path: Path) -> None:
    side = SIDE // 4
    first, second = noise(2, side, side, seed=2), noise(2, side, side, seed=3)
    first[:, :10] = -1
    second[:, :4] = -1
    paths = [write(tmp_path / f"{n}.tif", values, COARSE, -1.0) for n, values in (("a", first), ("b", second))]
    inputs = [
        part for path, day in zip(paths, (1, 2), strict=True) for part in ("--ms", f"{path}::date=2024-05-0{day}")
    ]
    done = earthprism("embed", *inputs, "--model", encoder.root, "--output", tmp_path / "e.tif")
    assert done.code == 0, done.err
    found = embedding(tmp_path / "e.tif")
    one, other = pooled(first, 2), pooled(second, 2)
    assert np.isnan(found[:, :2]).all()
    np.testing.assert_allclose(found[:, 2:5], other[:, 2:5], atol=1e-5)
    np.testing.assert_allclose(found[:, 5:], (one[:, 5:] + other[:, 5:]) / 2, atol=1e-5)


def test_a_band_that_lacks(encoder: Package, tmp_path: Path) -> None:
    values = noise(1, SIDE // 4, SIDE // 4)
    path = write(tmp_path / "one.tif", values, COARSE)
    done = earthprism("embed", "--ms", path, "--model", encoder.root, "--output", tmp_path / "e.tif")
    assert done.code == 0, done.err
    found = embedding(tmp_path / "e.tif")
    np.testing.assert_allclose(found[0], pooled(values, 2)[0], atol=1e-5)
    np.testing.assert_array_equal(found[1], 0)


def test_an_area_gives_what_the_whole_scene_gives(encoder: Package, hr: Path, tmp_path: Path) -> None:
    extent = ["--extent", f"{LEFT + 20},{TOP - 60},{LEFT + 70},{TOP - 10}", "--extent-crs", "EPSG:32631"]
    model = ["--model", encoder.root, "--output"]
    assert earthprism("embed", "--hr", hr, *model, tmp_path / "whole.tif").code == 0
    assert earthprism("embed", "--hr", hr, *extent, *model, tmp_path / "part.tif").code == 0
    whole, part = embedding(tmp_path / "whole.tif"), embedding(tmp_path / "part.tif")
    with rasterio.open(tmp_path / "part.tif") as dataset:
        col, row = round((dataset.transform.c - LEFT) / 8), round((TOP - dataset.transform.f) / 8)
    inside = ~np.isnan(part)
    assert inside.any() and part.shape[1] < whole.shape[1]
    same = whole[:, row : row + part.shape[1], col : col + part.shape[2]]
    np.testing.assert_array_equal(part[inside], same[inside])


def test_one_feature_of_one_input(encoder: Package, hr: Path, ms: Path, tmp_path: Path) -> None:
    both = ["--hr", hr, "--ms", ms, "--model", encoder.root, "--output", tmp_path / "e.tif"]
    done = earthprism("embed", *both, "--feature", "ms_map")
    assert done.code == 0, done.err
    with rasterio.open(ms) as dataset:
        np.testing.assert_allclose(embedding(tmp_path / "e.tif"), pooled(dataset.read(), 2), atol=1e-5)


def test_another_grid(encoder: Package, hr: Path, tmp_path: Path) -> None:
    output = ["--model", encoder.root, "--output", tmp_path / "e.tif"]
    done = earthprism("embed", "--hr", hr, *output, "--resolution", "2")
    assert done.code == 0, done.err
    with rasterio.open(tmp_path / "e.tif") as dataset, rasterio.open(hr) as fine:
        assert dataset.res == (16.0, 16.0)
        inside = fine.read(1)[:96, :96]
        np.testing.assert_allclose(dataset.read(1)[:6, :6], pooled(inside[None], 16)[0], atol=1e-5)


def test_plan_and_resume(encoder: Package, hr: Path, tmp_path: Path) -> None:
    job = ["--hr", hr, "--model", encoder.root, "--output", tmp_path / "e.tif"]
    planned = earthprism("plan", "embed", *job, "--json")
    assert planned.code == 0, planned.err
    assert json.loads(planned.out)["windows"] == 16 and not (tmp_path / "e.tif").exists()
    assert earthprism("embed", *job).code == 0
    again = earthprism("embed", *job, "--resume")
    assert again.code == 0 and "nothing is left to do" in again.err
    assert earthprism("embed", *job).code == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--feature", "nothing"], "its maps are hr_map, ms_map, fused"),
        (["--feature", "image"], 'has no map called "image"'),
        (["--grid", "nowhere.tif"], "nowhere.tif"),
        (["--output", "e.png"], "--output"),
    ],
)
def test_what_cannot_be(encoder: Package, hr: Path, tmp_path: Path, options: list[str], words: str) -> None:
    output = [] if "--output" in options else ["--output", tmp_path / "e.tif"]
    done = earthprism("embed", "--hr", hr, "--model", encoder.root, *output, *options)
    assert done.code == 2 and words in done.err and "Traceback" not in done.err
    assert not list(tmp_path.glob("e.*"))


def test_a_head_is_no_encoder_and_an_encoder_makes_no_map(
    heads: tuple[Package, list[Package]], encoder: Package, hr: Path, ms: Path, tmp_path: Path
) -> None:
    output = ["--output", tmp_path / "e.tif"]
    models = ["--model", heads[0].root, "--model", heads[1][0].root]
    done = earthprism("embed", "--ms", ms, *models, *output)
    assert done.code == 2 and "is no encoder" in done.err
    done = earthprism("segment", "--hr", hr, "--model", encoder.root, *output)
    assert done.code == 2 and "gives no classes" in done.err


def test_an_input_that_the_encoder_does_not_take(encoder: Package, hr: Path, tmp_path: Path) -> None:
    done = earthprism("embed", "--sar", hr, "--model", encoder.root, "--output", tmp_path / "e.tif")
    assert done.code == 2 and "takes no SAR input" in done.err
