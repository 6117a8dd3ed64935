"""The generated place of the demo: known truth, published spectra, recognised like a real product."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely

from backend.protocol.jobs import InputSpec
from backend.sensors.inspect import inspect
from tests.end_to_end.command import done

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "sample_scene.py"
MAY, OCTOBER = "2019-05-16", "2019-10-13"


@pytest.fixture(scope="module")
def code() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def scene(code: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    assert code["main"]([str(folder)]) == 0
    return folder


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        found: np.ndarray = dataset.read()
    return found


@pytest.mark.parametrize(
    ("name", "sensor", "modality"),
    [
        (f"sentinel2_{MAY}.tif", "sentinel-2-l2a", "ms"),
        (f"sentinel1_{OCTOBER}.tif", "sentinel-1-grd", "sar"),
        (f"aerial_rgbn_{MAY}.tif", "aerial-rgbn", "hr"),
    ],
)
def test_every_layer_is_recognised_without_a_question(scene: Path, name: str, sensor: str, modality: str) -> None:
    paths = (str(scene / name),)
    found = inspect(paths, InputSpec(modality, paths))
    assert (found.sensor, found.to_dict()["modality"]) == (sensor, modality)
    assert not found.questions() and not found.problems and found.date in (MAY, OCTOBER)


def test_each_class_has_its_published_spectrum_and_backscatter(scene: Path, code: dict[str, Any]) -> None:
    truth, optical = read(scene / f"truth_{MAY}.tif")[0], read(scene / f"sentinel2_{MAY}.tif") / 10_000
    with rasterio.open(scene / f"sentinel1_{MAY}.tif") as dataset:
        radar = 10 ** (dataset.read() / 10)
        assert dataset.transform.c != 484_000.0  # a grid of its own
    for value, cover in enumerate(code["COVERS"]):
        if value == code["TOWN"]:  # a pixel mixes houses and gardens
            continue
        seen = np.median(optical[:, truth == value], axis=1)
        np.testing.assert_allclose(seen, cover.optical[0], rtol=0.15, atol=0.01)
        there = truth[3:, 5:] == value
        np.testing.assert_allclose(10 * np.log10(radar[:, there].mean(axis=1)), cover.radar[0], atol=1.5)


def test_the_lake_only_grows_and_clouds_are_in_the_mask(scene: Path, code: dict[str, Any]) -> None:
    first, second = (read(scene / f"truth_{date}.tif")[0] == code["WATER"] for date in (MAY, OCTOBER))
    assert (second | ~first).all() and 0.02 < (second & ~first).mean() < 0.1
    bright = read(scene / f"sentinel2_{OCTOBER}.tif")[0] > 3000
    assert bright.any() and (read(scene / f"clouds_{OCTOBER}.tif")[0][bright] == 1).all()


def test_another_seed_gives_another_place(code: dict[str, Any]) -> None:
    one, same, other = (code["make_place"](seed).covers[0][::8, ::8] for seed in (0, 0, 1))
    assert (one == same).all() and (one != other).mean() > 0.3


def test_wrong_arguments_are_refused(code: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert code["main"]([]) == 2 and code["main"](["folder", "x"]) == 2
    assert "usage" in capsys.readouterr().err


def test_ten_labels_of_each_class_map_the_place(
    scene: Path, code: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels are discs in the truth; learned is on the built-in encoder of bands, at full resolution."""
    monkeypatch.setenv("EARTHPRISM_HOME", str(tmp_path / "home"))
    random = np.random.default_rng(0)
    with rasterio.open(scene / f"truth_{MAY}.tif") as dataset:
        truth, grid, crs = dataset.read(1), dataset.transform, dataset.crs
    names = [cover.name for cover in code["COVERS"]]
    shapes, classes = [], []
    for value, name in enumerate(names):
        same = truth[1:-1, 1:-1] == value
        for row in range(3):
            for col in range(3):
                same &= truth[row : row + 598, col : col + 598] == value
        for row, col in random.permutation(np.argwhere(same))[:10] + 1:
            shapes.append(shapely.Point(grid @ (col + 0.5, row + 0.5)).buffer(12))
            classes.append(name)
    pyogrio.raw.write(
        tmp_path / "labels.gpkg", shapely.to_wkb(np.array(shapes)), field_data=[np.array(classes, object)],
        fields=["class"], geometry_type="Polygon", crs=crs.to_string(), driver="GPKG",
    )  # fmt: skip
    options = ["--labels", tmp_path / "labels.gpkg", "--field", "class", "--model", "bands-s2", "--save", "valley"]
    found = done("learn", "--ms", scene / f"sentinel2_{MAY}.tif", *options, "--output", tmp_path / "map.tif")
    legend = [one["name"] for one in found["report"]["classes"]]
    mapped = np.array([names.index(name) for name in legend])[read(tmp_path / "map.tif")[0]]
    assert (mapped == truth).mean() > 0.85 and found["report"]["by_block"]["accuracy"]["value"] > 0.85
