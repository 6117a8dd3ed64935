"""Mixed-sensor scenes of the data kit through both encoders; weights are random, so only the way is tested."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from backend.train.recipes.encoder_package import EncoderPackage, run
from tests.end_to_end.command import done, refused

pytestmark = pytest.mark.kit

# encoder -> width of the joined map, ground per position in pixels of 10 m
ENCODERS = {"skysense-v2-tiny": (128, 4), "smarties-tiny": (128, 8)}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = str(tmp_path_factory.mktemp("encoders"))
    return {name: Path(run(EncoderPackage(name, folder, graphs=""))["package"]) for name in ENCODERS}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_series_of_two_sensors(kit: Path, packages: dict[str, Path], tmp_path: Path, encoder: str) -> None:
    block = kit / "worldcereal_sits" / "be_2019_b"
    optical, radar = sorted((block / "s2").glob("*.tif"))[40:43], sorted((block / "s1").glob("*.tif"))[40:42]
    inputs = [part for path in optical for part in ("--ms", path)] + [
        part for path in radar for part in ("--sar", path)
    ]
    done("embed", *inputs, "--model", packages[encoder], "--output", tmp_path / "e.tif")
    width, positions = ENCODERS[encoder]
    with rasterio.open(tmp_path / "e.tif") as found, rasterio.open(optical[0]) as scene:
        assert (found.count, found.crs) == (width, scene.crs)
        assert found.transform.almost_equals(scene.transform @ Affine.scale(positions))
        values = found.read()
        assert np.isfinite(values).all() and values.std(axis=(1, 2)).min() > 0
    described = json.loads((tmp_path / "e.run.json").read_text("utf-8"))
    dates = {item["slot"]: [raster["date"] for raster in item["rasters"]] for item in described["inputs"]}
    assert [len(found) for found in dates.values()] == [3, 2]
    assert all(found == sorted(found) and None not in found for found in dates.values())


@pytest.mark.parametrize("encoder", ENCODERS)
def test_high_resolution_and_radar(kit: Path, packages: dict[str, Path], tmp_path: Path, encoder: str) -> None:
    place = kit / "spacenet6_rotterdam"
    inputs = ["--hr", place / "rgb_900m.tif", "--sar", place / "sar_900m_db.tif"]
    outcome = done("embed", *inputs, "--model", packages[encoder], "--output", tmp_path / "e.tif")
    # Neither encoder was made for pixels of 4.5 m of the one beside the other.
    assert "has 4.5 m and is resampled to" in " ".join(outcome["warnings"])
    with rasterio.open(tmp_path / "e.tif") as found, rasterio.open(place / "rgb_900m.tif") as scene:
        assert found.crs == scene.crs
        assert (found.transform.c, found.transform.f) == (scene.transform.c, scene.transform.f)
        assert found.bounds.right >= scene.bounds.right - 1e-6 and found.bounds.bottom <= scene.bounds.bottom + 1e-6
        assert np.isfinite(found.read()).all()


def test_a_block_without_its_10_m_bands(kit: Path, packages: dict[str, Path], tmp_path: Path) -> None:
    path = sorted((kit / "worldcereal_sits" / "be_2019_c" / "s2").glob("*.tif"))[40]
    arguments = ["embed", "--ms", path, "--output", tmp_path / "e.tif", "--model"]
    said = refused(*arguments, packages["skysense-v2-tiny"])
    assert all(band in said for band in ("B02", "B03", "B04"))  # B8A stands in for B08
    done(*arguments, packages["smarties-tiny"])
    with rasterio.open(tmp_path / "e.tif") as found:
        assert np.isfinite(found.read()).any()
