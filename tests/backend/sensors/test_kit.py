"""Recognition of every part of the data kit, its known traps included."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from backend.sensors.inspect import Inspection, inspect

# What is expected of each part: bands ("-" for one that is not recognised), the unit of the sensor's first band (empty
# where an option must decide), and words of a doubt.
with (Path(__file__).parent / "kit.csv").open(encoding="utf-8", newline="") as file:
    EXPECTED = list(csv.DictReader(file))


def _names(found: Inspection) -> str:
    return " ".join(band.band.name if band.band else "-" for band in found.bands)


@pytest.mark.parametrize("row", EXPECTED, ids=[row["path"] for row in EXPECTED])
def test_part(kit: Path, row: dict[str, str]) -> None:
    found = inspect(kit / row["path"])
    assert (found.sensor, found.certainty, found.date or "") == (row["sensor"], row["certainty"], row["date"])
    assert _names(found) == row["bands"]
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    first = next(band for band in content["bands"] if band["band"] and band["sensor"] == row["sensor"])
    assert (first["unit"] or "") == row["unit"]
    assert row["doubt"] in "\n".join(content["doubts"])
    assert found.lines()


def test_eurosat_has_the_narrow_infrared_last(kit: Path) -> None:
    found = inspect(kit / "eurosat/ms/Forest/Forest_1.tif")
    assert found.bands[-1].band is not None and found.bands[-1].band.name == "B8A"


def test_multi_sensor_files_keep_their_sensors_apart(kit: Path) -> None:
    found = inspect(kit / "openeo_cubes/worldcereal_s1s2_monthly_2020-11_2021-10.nc")
    assert {band.sensor.name for band in found.bands if band.sensor} == {"sentinel-1-grd", "sentinel-2-l2a"}


def test_scale_and_temperature_of_landsat_come_from_the_file(kit: Path) -> None:
    bands = inspect(kit / "worldcereal_sits/be_2019_c/l8/L8_SR_20180802.tif").to_dict()["bands"]
    assert [(band["unit"], band["scale"]) for band in bands[:1] + bands[-1:]] == [
        ("reflectance", 0.0001),
        ("kelvin", 0.1),
    ]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("clouds_csmask/sentinel2.tif", "coordinate reference system"),
        ("clouds_csmask/landsat5_mask.tif", "coordinate reference system"),
        ("eurosat/rgb/River/River_1.jpg", "coordinate reference system"),
        ("spacenet6_rotterdam/slc_hh.tif", "complex"),
    ],
)
def test_problems(kit: Path, path: str, words: str) -> None:
    assert any(words in problem.text for problem in inspect(kit / path).problems)


@pytest.mark.parametrize(
    "path",
    ["sen1floods11/label/Ghana_53713_LabelHand.tif", "landsat8_zion/srtm.tif", "landsat8_zion/nlcd2011_8class.tif",
     "worldcereal_sits/be_2019_b/labels_ct.tif", "spacenet4_atlanta/buildings.tif", "boadella_s2/water_2020-02-02.tif"],
)  # fmt: skip
def test_other_rasters_are_not_taken_for_images(kit: Path, path: str) -> None:
    found = inspect(kit / path)
    assert found.sensor is None and found.certainty == "unknown" and "not recognised" in " ".join(found.doubts)


def test_series_of_classes_offers_its_dates(kit: Path) -> None:
    found = inspect(kit / "worldcereal_sits/be_2019_b/s2_scl.tif")
    assert found.layout == "series in one file" and len(found.dates) == 72 and found.dates[0] == "2018-08-04"


def test_folder_of_dates_is_a_series_without_its_label_files(kit: Path) -> None:
    found = inspect(kit / "boadella_s2")
    assert len(found.dates) == 8 and any("water_2020-01-13.tif" in doubt for doubt in found.doubts)
    assert all(len(band.part.paths) == 1 for band in found.bands)


def test_tiles_with_and_without_alpha_make_one_mosaic(kit: Path) -> None:
    found = inspect(kit / "hot_buildings/banepa/images")
    assert found.layout == "mosaic" and [len(band.part.paths) for band in found.bands] == [32, 32, 32]
    assert found.grid is not None and found.grid.width > 256


def test_every_raster_of_the_kit_can_be_inspected(kit: Path) -> None:
    suffixes = {".tif", ".jp2", ".nc", ".png", ".jpg"}
    folders: dict[Path, list[Path]] = {}
    for path in sorted(path for path in kit.rglob("*") if path.suffix in suffixes):
        folders.setdefault(path.parent, []).append(path)
    for files in folders.values():
        for path in files[:: max(1, len(files) // 3)]:
            found = inspect(path)
            assert found.bands and (found.grid is not None or found.problems)
