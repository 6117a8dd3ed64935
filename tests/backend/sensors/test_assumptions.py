"""What is taken for granted is said wherever the input is used: by `inspect` and by every run."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.protocol.jobs import InputSpec
from backend.sensors.inspect import inspect
from backend.sensors.resolve import resolve
from tests.backend.sensors.builders import RGB, S2_RGBN, raster, spec

BANDS = ["B02", "B03", "B04", "B08"]


def test_no_offset_by_date_alone(tmp_path: Path) -> None:
    path = raster(tmp_path / "S2_L2A_20200613.tif", BANDS)
    (doubt,) = [text for text in inspect(path).doubts if text.startswith("no offset")]
    assert doubt in resolve(spec(path), S2_RGBN, "reflectance").warnings


def test_numbers_taken_as_they_are_need_no_offset(tmp_path: Path) -> None:
    path = raster(tmp_path / "S2_L2A_20200613.tif", BANDS)
    warnings = resolve(spec(path, unit="dn", scale=1.0), RGB, "dn").warnings
    assert not [text for text in warnings if text.startswith("no offset")]


def test_bands_that_are_not_used_are_no_concern_of_a_run(tmp_path: Path) -> None:
    path = raster(tmp_path / "S2_L2A_20200613.tif", [*BANDS, "mystery"])
    assert "not recognised: mystery" in inspect(path).doubts
    assert not [text for text in resolve(spec(path), S2_RGBN, "reflectance").warnings if "mystery" in text]


@pytest.mark.parametrize("stated", ["tag", "name"])
def test_a_date_against_the_metadata(tmp_path: Path, stated: str) -> None:
    name, tags = ("x.tif", {"acquisition_date": "2020-06-13"}) if stated == "tag" else ("S2_L2A_20200613.tif", {})
    path = raster(tmp_path / name, BANDS, tags=tags)
    told = spec(path, date="2024-05-01", sensor="sentinel-2-l2a", offset=0.0)
    (doubt,) = [text for text in inspect(path, told).doubts if "::date=2024-05-01" in text]
    assert "2020-06-13" in doubt and inspect(path, told).date == "2024-05-01"
    assert doubt in resolve(told, S2_RGBN, "reflectance").warnings
    same = spec(path, date="2020-06-13", sensor="sentinel-2-l2a")
    assert not [text for text in inspect(path, same).doubts if "::date=" in text]


def test_a_date_that_chooses_from_a_series_contradicts_nothing(tmp_path: Path) -> None:
    paths = [str(raster(tmp_path / f"S2_L2A_{day}.tif", BANDS)) for day in ("20200613", "20200713")]
    found = inspect(paths, InputSpec("ms", tuple(paths), date="2020-07-13"))
    assert found.date == "2020-07-13" and not [text for text in found.doubts if "although" in text]


def test_scattered_files_are_no_scene_without_a_doubt(tmp_path: Path) -> None:
    near, beside = (600_000.0, 5_000_000.0), (600_080.0, 5_000_000.0)
    far = (601_520.0, 4_998_480.0)
    chips = [str(raster(tmp_path / f"chip{k}.tif", BANDS, origin=at)) for k, at in enumerate((near, beside, far))]
    scattered, mosaic = InputSpec("ms", (chips[0], chips[2])), InputSpec("ms", (chips[0], chips[1]))
    (doubt,) = [text for text in inspect(scattered.paths).doubts if "cover" in text]
    assert "2 files cover 0.5 % of the 160 x 160 pixels" in doubt
    told = InputSpec("ms", scattered.paths, sensor="sentinel-2-l2a", date="2020-06-13")
    assert doubt in resolve(told, S2_RGBN, "reflectance").warnings
    assert not [text for text in inspect(mosaic.paths).doubts if "cover" in text]


def test_a_problem_names_its_file_once(tmp_path: Path) -> None:
    nowhere = raster(tmp_path / "S2_L2A_20200613.tif", BANDS, crs=None)
    palette = raster(tmp_path / "map.tif", 1, "uint8", photometric="palette")
    (placeless,), (coloured,) = inspect(nowhere).problems, inspect(palette).problems
    assert placeless.names_file and str(nowhere) in placeless.text
    assert not coloured.names_file and "colour table" in coloured.text
    for path in (nowhere, palette):
        with pytest.raises(Exception) as caught:
            resolve(spec(path), S2_RGBN, "reflectance")
        assert caught.value.sentence().count(str(path)) == 1
