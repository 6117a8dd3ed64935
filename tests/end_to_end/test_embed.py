"""`earthprism embed` as a user calls it: real rasters, embeddings that can be computed by hand."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.warp import transform

from backend.manifest.package import Package
from tests import packages
from tests.end_to_end.command import done, earthprism, refused, snapshot
from tests.end_to_end.processes import ROOT

LEFT, TOP = 500_000.0, 4_700_000.0
SIDE = 104  # pixels of the fine raster; 13 positions of 8 px, more than one window
FINE, COARSE = 1.0, 4.0  # metres


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return packages.staged_encoder(tmp_path_factory.mktemp("staged"))


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> tuple[Package, list[Package]]:
    return packages.encoder_and_heads(tmp_path_factory.mktemp("heads"))


def write(
    path: Path,
    values: np.ndarray,
    pixel: float,
    nodata: float | None = None,
    crs: str = "EPSG:32631",
    corner: tuple[float, float] = (LEFT, TOP),
) -> Path:
    count, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype="float32", crs=crs, nodata=nodata,
        transform=Affine(pixel, 0, corner[0], 0, -pixel, corner[1]),
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


def values_of(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


def test_one_sensor(encoder: Package, hr: Path, tmp_path: Path) -> None:
    result = done("embed", "--hr", hr, "--model", encoder.root, "--output", tmp_path / "e.tif")
    found = embedding(tmp_path / "e.tif")
    np.testing.assert_allclose(found[0], pooled(values_of(hr), 8)[0], atol=1e-5)
    np.testing.assert_array_equal(found[1], 0)
    with rasterio.open(tmp_path / "e.tif") as dataset:
        assert dataset.transform == Affine(8, 0, LEFT, 0, -8, TOP) and dataset.crs.to_epsg() == 32631
        assert dataset.descriptions == ("fused 1", "fused 2")
    assert result["outputs"]["embedding"] == [str(tmp_path / "e.tif")] and result["windows"] == 16
    described = json.loads((tmp_path / "e.run.json").read_text())
    assert described["task"] == "embed" and described["outputs"]["embedding"] == ["e.tif"]
    assert not (tmp_path / "e.tif.parts").exists()


def test_two_sensors_each_on_its_own_pixels(encoder: Package, hr: Path, ms: Path, tmp_path: Path) -> None:
    done("embed", "--hr", hr, "--ms", ms, "--model", encoder.root, "--output", tmp_path / "e.tif")
    one, other = pooled(values_of(hr), 8), pooled(values_of(ms), 2)
    found = embedding(tmp_path / "e.tif")
    np.testing.assert_allclose(found[0], (one[0] + other[0]) / 2, atol=1e-5)
    np.testing.assert_allclose(found[1], other[1] / 2, atol=1e-5)


def test_two_sensors_in_different_coordinate_systems(encoder: Package, hr: Path, tmp_path: Path) -> None:
    """The second one is constant, so that resampling it changes nothing, and ends inside the first."""
    (left,), (top,) = transform("EPSG:32631", "EPSG:32632", [LEFT - 30], [TOP + 30])
    values = np.broadcast_to(np.float32([3, 5])[:, None, None], (2, 25, 25))
    path = write(tmp_path / "other.tif", values, COARSE, crs="EPSG:32632", corner=(left, top))
    done("embed", "--hr", hr, "--ms", path, "--model", encoder.root, "--output", tmp_path / "e.tif")
    one, found = pooled(values_of(hr), 8)[0], embedding(tmp_path / "e.tif")
    assert np.isfinite(found).all()
    # Of the 2 x 2 pixels of a position all are there, or none, or, on the border, two or three: the others are 0.
    share = found[1] / 2.5
    assert set(np.unique(share)) <= {0, 0.5, 0.75, 1} and {0, 1} <= set(np.unique(share))
    np.testing.assert_allclose(found[0], np.where(share > 0, (one + 3 * share) / 2, one), atol=1e-5)


def test_inputs_that_do_not_overlap(encoder: Package, hr: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "far.tif", noise(2, 26, 26), COARSE, corner=(LEFT + 5000, TOP))
    before = snapshot(tmp_path)
    job = ["--hr", hr, "--ms", path, "--model", encoder.root, "--output", tmp_path / "e.tif"]
    for command in (["embed"], ["plan", "embed"]):
        said = refused(*command, *job)
        assert "do not overlap" in said and "far.tif" in said
    assert snapshot(tmp_path) == before


def gappy_series(folder: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Two dates; five rows of positions have no data in the first, two of these in neither."""
    first, second = noise(2, SIDE // 4, SIDE // 4, seed=2), noise(2, SIDE // 4, SIDE // 4, seed=3)
    first[:, :10] = -1
    second[:, :4] = -1
    inputs = []
    for day, values in enumerate((first, second), start=1):
        path = write(folder / f"{day}.tif", values, COARSE, -1.0)
        inputs += ["--ms", f"{path}::date=2024-05-0{day}"]
    return inputs, pooled(first, 2), pooled(second, 2)


@pytest.mark.parametrize("feature", ["fused", "ms_map"])
def test_a_gap_in_one_date_is_filled_by_the_others(encoder: Package, tmp_path: Path, feature: str) -> None:
    inputs, one, other = gappy_series(tmp_path)
    output = ["--output", tmp_path / "e.tif", "--feature", feature]
    done("embed", *inputs, "--model", encoder.root, *output)
    found = embedding(tmp_path / "e.tif")
    assert np.isnan(found[:, :2]).all()
    np.testing.assert_allclose(found[:, 2:5], other[:, 2:5], atol=1e-5)
    np.testing.assert_allclose(found[:, 5:], (one[:, 5:] + other[:, 5:]) / 2, atol=1e-5)


def test_a_band_that_lacks_is_said(encoder: Package, tmp_path: Path) -> None:
    values = noise(1, SIDE // 4, SIDE // 4)
    path = write(tmp_path / "one.tif", values, COARSE)
    result = done("embed", "--ms", path, "--model", encoder.root, "--output", tmp_path / "e.tif")
    assert any("lacks B2" in warning for warning in result["warnings"])
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


@pytest.mark.parametrize(("size", "shape"), [((2, 2), (1, 1)), ((1, SIDE), (13, 1)), ((SIDE, 1), (1, 13))])
def test_an_area_smaller_than_a_position(
    encoder: Package, hr: Path, tmp_path: Path, size: tuple[int, int], shape: tuple[int, int]
) -> None:
    left, top = LEFT + (20 if size[0] < SIDE else 0), TOP - (20 if size[1] < SIDE else 0)
    extent = f"{left},{top - size[1]},{left + size[0]},{top}"
    job = ["embed", "--hr", hr, "--extent", extent, "--extent-crs", "EPSG:32631", "--model", encoder.root]
    done(*job, "--output", tmp_path / "e.tif")
    row, col = (2 if side == 1 else 0 for side in shape)
    expected = pooled(values_of(hr), 8)[0, row : row + shape[0], col : col + shape[1]]
    np.testing.assert_allclose(embedding(tmp_path / "e.tif")[0], expected, atol=1e-5)


def test_a_feature_of_one_input(encoder: Package, hr: Path, ms: Path, tmp_path: Path) -> None:
    output = ["--model", encoder.root, "--output", tmp_path / "e.tif", "--feature", "ms_map"]
    before = snapshot(tmp_path)
    assert "hr.tif" in refused("embed", "--hr", hr, "--ms", ms, *output)
    assert "made of the multispectral input alone" in refused("embed", "--hr", hr, *output)
    assert snapshot(tmp_path) == before
    done("embed", "--ms", ms, *output)
    np.testing.assert_allclose(embedding(tmp_path / "e.tif"), pooled(values_of(ms), 2), atol=1e-5)


def test_the_grid_of_another_raster(encoder: Package, hr: Path, tmp_path: Path) -> None:
    reference = write(tmp_path / "grid.tif", noise(1, 40, 40), FINE, corner=(LEFT + 16, TOP - 24))
    done("embed", "--hr", hr, "--model", encoder.root, "--output", tmp_path / "e.tif", "--grid", reference)
    with rasterio.open(tmp_path / "e.tif") as dataset:
        assert dataset.transform == Affine(8, 0, LEFT + 16, 0, -8, TOP - 24) and dataset.shape == (5, 5)
        np.testing.assert_allclose(dataset.read(1), pooled(values_of(hr)[:, 24:64, 16:56], 8)[0], atol=1e-5)


def test_the_models_own_pixels(tmp_path: Path) -> None:
    """A raster of 3 m for a model of 1 m: positions of 8 m, where the user insists."""
    package = packages.staged_encoder(tmp_path / "model", slots={"gsd_m": (1.0, 1.0)})
    path = write(tmp_path / "coarse.tif", np.full((1, 52, 52), 3, np.float32), 3 * FINE)
    job = ["embed", "--hr", path, "--model", package.root, "--output", tmp_path / "e.tif"]
    assert "made for pixels of 1 to 1 m" in refused(*job)
    result = done(*job, "--grid", "model")
    assert any("resampled to 1 m" in warning for warning in result["warnings"])
    found = embedding(tmp_path / "e.tif")
    with rasterio.open(tmp_path / "e.tif") as dataset:
        assert dataset.res == pytest.approx((8, 8), rel=1e-3)
    np.testing.assert_allclose(found[0, :-1, :-1], 3, atol=1e-5)


def test_another_coordinate_system(encoder: Package, tmp_path: Path) -> None:
    path = write(tmp_path / "flat.tif", np.full((1, SIDE, SIDE), 3, np.float32), FINE)
    output = ["--model", encoder.root, "--output", tmp_path / "e.tif", "--crs", "EPSG:32632"]
    done("embed", "--hr", path, *output)
    found = embedding(tmp_path / "e.tif")[0]
    with rasterio.open(tmp_path / "e.tif") as dataset:
        assert dataset.crs.to_epsg() == 32632 and dataset.res == pytest.approx((8, 8), rel=0.05)
    inside = found[3:-3, 3:-3]
    np.testing.assert_allclose(inside, 3, atol=1e-4)


def test_another_grid(encoder: Package, hr: Path, tmp_path: Path) -> None:
    output = ["--model", encoder.root, "--output", tmp_path / "e.tif"]
    done = earthprism("embed", "--hr", hr, *output, "--resolution", "2")
    assert done.code == 0, done.err
    with rasterio.open(tmp_path / "e.tif") as dataset, rasterio.open(hr) as fine:
        assert dataset.res == (16.0, 16.0)
        inside = fine.read(1)[:96, :96]
        np.testing.assert_allclose(dataset.read(1)[:6, :6], pooled(inside[None], 16)[0], atol=1e-5)


def test_killed_and_taken_up(encoder: Package, tmp_path: Path) -> None:
    """A scene of several chunks; what was finished is not computed again."""
    path = write(tmp_path / "long.tif", noise(1, 16_384, 40), FINE)
    job = ["embed", "--hr", path, "--model", encoder.root, "--output", tmp_path / "e.tif", "--device", "cpu"]
    command = [sys.executable, "-m", "backend", *map(str, job)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not list(tmp_path.glob("e.tif.parts/*/embedding/*.tif")):
            assert process.poll() is None
            time.sleep(0.002)
        process.kill()
    assert not (tmp_path / "e.tif").exists()
    result = done(*job, "--resume")
    assert 0 < result["windows"] < 2 * 512
    np.testing.assert_allclose(embedding(tmp_path / "e.tif")[0], pooled(values_of(path), 8)[0], atol=1e-5)


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
    before = snapshot(tmp_path)
    assert words in refused("embed", "--hr", hr, "--model", encoder.root, *output, *options)
    assert snapshot(tmp_path) == before


def test_a_head_is_no_encoder_and_an_encoder_makes_no_map(
    heads: tuple[Package, list[Package]], encoder: Package, hr: Path, ms: Path, tmp_path: Path
) -> None:
    output = ["--output", tmp_path / "e.tif"]
    models = ["--model", heads[0].root, "--model", heads[1][0].root]
    assert "is no encoder" in refused("embed", "--ms", ms, *models, *output)
    assert "gives no classes" in refused("segment", "--hr", hr, "--model", encoder.root, *output)


def test_an_input_that_the_encoder_does_not_take(encoder: Package, hr: Path, tmp_path: Path) -> None:
    said = refused("embed", "--sar", hr, "--model", encoder.root, "--output", tmp_path / "e.tif")
    assert "takes no SAR input" in said


def test_of_more_dates_than_the_encoder_takes_some_are_chosen_and_named(
    encoder: Package, ms: Path, tmp_path: Path
) -> None:
    """The clearest date of each third of the year: the middle third has one with gaps and one without."""
    with rasterio.open(ms) as dataset:
        values, profile = dataset.read(), dataset.profile
    gaps = tmp_path / "gaps.tif"
    values[:, : values.shape[1] // 2] = 0
    with rasterio.open(gaps, "w", **{**profile, "nodata": 0}) as dataset:
        dataset.write(values)
    dates = {"2024-02-01": ms, "2024-06-01": gaps, "2024-06-20": ms, "2024-11-01": ms}
    inputs = [part for day, path in dates.items() for part in ("--ms", f"{path}::date={day}")]
    outcome = done("embed", *inputs, "--model", encoder.root, "--output", tmp_path / "chosen.tif")
    assert "2024-02-01, 2024-06-20, 2024-11-01 are used" in " ".join(outcome["warnings"])
    kept = [part for day in ("2024-02-01", "2024-06-20", "2024-11-01") for part in ("--ms", f"{ms}::date={day}")]
    done("embed", *kept, "--model", encoder.root, "--output", tmp_path / "kept.tif")
    with rasterio.open(tmp_path / "chosen.tif") as chosen, rasterio.open(tmp_path / "kept.tif") as same:
        np.testing.assert_array_equal(chosen.read(), same.read())
