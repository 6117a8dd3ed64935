"""A user's own rasters as samples: what shows the same ground belongs together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from backend.protocol.errors import InputError
from backend.protocol.jobs import InputSpec
from backend.train.data.readers.rasters import scenes
from tests.backend.train.data.images import LEFT, TOP, aerial, optical, radar, write


def test_images_of_the_same_ground_make_one_scene(tmp_path: Path) -> None:
    optical(tmp_path / "a.tif", "2019-05-04")
    optical(tmp_path / "b.tif", "2019-09-01")
    radar(tmp_path / "c.tif")
    aerial(tmp_path / "d.tif")
    (sample,) = scenes(tmp_path)
    assert {name: len(series.pixels) for name, series in sample.series.items()} == {"ms": 2, "sar": 1, "hr": 1}
    assert sample.key == f"{tmp_path.name.replace('.', '-')}-0-0"
    four = list(scenes(tmp_path, size=32))
    assert len({one.key for one in four}) == 4 and {one.series["hr"].pixels.shape[-1] for one in four} == {256}
    assert len(list(scenes(tmp_path, size=32, most=2))) == 2


def test_images_of_other_ground_make_scenes_of_their_own(tmp_path: Path) -> None:
    optical(tmp_path / "west.tif", size=32)
    optical(tmp_path / "east.tif", left=LEFT + 320, size=32)
    aerial(tmp_path / "far.tif", left=LEFT + 50_000)
    found = {sample.key.split("-")[-3]: sample for sample in scenes(tmp_path)}
    assert set(found) == {"west", "east", "far"} and set(found["far"].series) == {"hr"}
    assert found["east"].place.bounds == (LEFT + 320, TOP - 320, LEFT + 640, TOP)


def test_folders_of_dates_and_folders_of_scenes(tmp_path: Path) -> None:
    for number, day in enumerate(("2019-05-04", "2019-06-04", "2019-07-04")):
        optical(tmp_path / "one" / "s2" / f"S2_{day}.tif", day)
        radar(tmp_path / "one" / f"S1_{number}.tif", day)
    aerial(tmp_path / "two" / "rgb.tif")
    found = {sample.key: sample for sample in scenes(tmp_path)}
    assert set(found) == {"one-0-0", "two-0-0"}
    assert found["one-0-0"].series["ms"].days == ("2019-05-04", "2019-06-04", "2019-07-04")
    assert len(found["one-0-0"].series["sar"].days) == 3


def test_what_no_kind_takes_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    optical(tmp_path / "a.tif")
    write(tmp_path / "labels.tif", np.ones((1, 64, 64), "uint8"), ("land cover",), {}, LEFT, TOP, 10.0)
    (sample,) = scenes(tmp_path)
    assert set(sample.series) == {"ms"} and "labels.tif" in caplog.text


def test_numbers_that_metadata_leave_open_need_an_option(tmp_path: Path) -> None:
    optical(tmp_path / "a.tif", "2023-05-04")
    with pytest.raises(InputError, match="offset"):
        list(scenes(tmp_path))
    (sample,) = scenes(tmp_path, options=replace(InputSpec("", ()), offset=-1000.0))
    with rasterio.open(tmp_path / "a.tif") as dataset:
        stored = dataset.read(1).astype("float64")
    np.testing.assert_allclose(sample.series["ms"].pixels[0, 0], (stored - 1000) / 10_000, atol=1e-6)


def test_pictures_without_a_place_are_samples_alone(tmp_path: Path) -> None:
    for number in range(2):
        values = np.full((3, 20, 30), 40 * number + 10, "uint8")
        profile = {"driver": "PNG", "width": 30, "height": 20, "count": 3, "dtype": "uint8"}
        with rasterio.open(tmp_path / f"p{number}.png", "w", **profile) as dataset:
            dataset.write(values)
    found = list(scenes(tmp_path))
    assert [int(sample.series["hr"].pixels[0, 0, 0, 0]) for sample in found] == [10, 50]
    assert all(sample.place.crs == "" and sample.place.bounds == (0, 0, 30, 20) for sample in found)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no rasters"):
        list(scenes(tmp_path))
