"""Which models take which inputs, and the reasons in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.protocol.errors import ParameterError
from backend.protocol.jobs import GridSpec, InputSpec
from backend.protocol.messages import FitModels
from backend.sensors.catalogue import names
from backend.tasks.fit import fit, sensors
from tests.rasters import utm_grid, write_raster

BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")


def sentinel_2(path: Path, bands: tuple[str, ...] = BANDS) -> InputSpec:
    array = np.full((len(bands), 64, 64), 1000, "uint16")
    return InputSpec(
        "ms", (write_raster(path, array, utm_grid(64, 64)),), "sentinel-2-l2a", "2019-05-01", bands, offset=0
    )


def verdicts(query: FitModels) -> dict[str, str]:
    return {entry["name"]: entry["problem"] for entry in fit(query)["models"]}


def test_without_inputs_every_model_of_the_task_is_offered() -> None:
    entries = fit(FitModels("segment"))["models"]
    assert {entry["name"] for entry in entries} >= {"water-baseline-s1", "water-baseline-s2"}
    assert all(entry["problem"] == "" and entry["task"] == "segment" for entry in entries)
    water = next(entry for entry in entries if entry["name"] == "water-baseline-s2")
    assert water["classes"] == [
        [
            {"value": 0, "name": "no water", "color": "#d9c8a3"},
            {"value": 1, "name": "water", "color": "#1f6fb4"},
        ]
    ]
    assert water["modalities"] == ["ms"] and water["licence"] and water["built_in"]


def test_what_takes_the_inputs_comes_first_and_the_others_say_why_not(tmp_path: Path) -> None:
    found = verdicts(FitModels("segment", (sentinel_2(tmp_path / "s2.tif"),)))
    assert found["water-baseline-s2"] == "" and next(iter(found)) == "water-baseline-s2"
    assert "takes no multispectral input" in found["water-baseline-s1"]


def test_lacking_bands_are_named(tmp_path: Path) -> None:
    found = verdicts(FitModels("segment", (sentinel_2(tmp_path / "s2.tif", BANDS[:4]),)))
    assert "B11" in found["water-baseline-s2"]
    assert next(iter(found)) == "water-baseline-s2"  # nearer to a fit than one for radar


def test_what_would_happen_to_the_inputs_is_said(tmp_path: Path) -> None:
    query = FitModels("segment", (sentinel_2(tmp_path / "s2.tif"),), grid=GridSpec(crs="EPSG:4326"))
    (entry, *_) = fit(query)["models"]
    assert entry["problem"] == "" and all(isinstance(note, str) and note for note in entry["notes"])


def test_a_task_that_there_is_not() -> None:
    with pytest.raises(ParameterError, match="the tasks are segment, embed"):
        fit(FitModels("dream"))


def test_nothing_is_written(tmp_path: Path) -> None:
    fit(FitModels("segment", (sentinel_2(tmp_path / "s2.tif"),)))
    assert [path.name for path in tmp_path.iterdir()] == ["s2.tif"]


def test_every_sensor_of_the_catalogue_can_be_named() -> None:
    found = sensors()["sensors"]
    assert [sensor["name"] for sensor in found] == list(names())
    assert {sensor["modality"] for sensor in found} <= {"hr", "ms", "sar", "raster"}
