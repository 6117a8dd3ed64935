"""Which band of an input serves which need of a model, without a model and without reading a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from backend.protocol.errors import InputError
from backend.sensors.inspect import InputBand, inspect
from backend.sensors.matching import match, shared_bands, words_of
from tests.backend.sensors.builders import S1, S2_RGBN, Want, envi, raster, spec

RED, RED_EDGE, NIR = Want("B04", 665, 31), Want("B05", 704, 15), Want("B08", 833, 106)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def bands(path: Path, **options: object) -> tuple[InputBand, ...]:
    return inspect(path, spec(path, **options)).bands


def numbers(needed: Sequence[Want], found: Sequence[InputBand]) -> list[int]:
    return [band.number for band in match(needed, found)]


def test_names_in_any_order_and_spelling(folder: Path) -> None:
    found = bands(raster(folder / "S2_L2A_20200613.tif", ["B8", "b_04", "B02", "B03"]))
    assert numbers(S2_RGBN, found) == [2, 4, 3, 1]


def test_equal_names_of_different_wavelengths_are_different_bands(folder: Path) -> None:
    # Band 5 of Landsat 8 is near infrared, that of Sentinel-2 red edge.
    found = bands(raster(folder / "LC08_20200613.tif", ["B2", "B3", "B4", "B5"]), sensor="landsat-8-l2")
    assert numbers([Want("B08", 833, 106), RED], found) == [4, 3]
    with pytest.raises(InputError, match="red edge 1"):
        match([RED_EDGE], found)


def test_the_nearest_of_many_narrow_bands(folder: Path) -> None:
    found = bands(envi(folder / "cube.bsq", [600, 655, 660, 668, 672, 700, 840]))
    assert numbers([RED, NIR], found) == [4, 7]


def test_polarisations_are_no_matter_of_order(folder: Path) -> None:
    found = bands(raster(folder / "S1_GRD_20200613.tif", ["VH", "VV"], "float32"))
    assert numbers(S1, found) == [2, 1]
    with pytest.raises(InputError, match="HH polarisation"):
        match([Want("HH", polarisation="HH")], found)


def test_bands_without_names_count_for_models_without_wavelengths_only(folder: Path) -> None:
    found = bands(raster(folder / "x.tif", 3, "float32"))
    assert numbers([Want("B3"), Want("band1")], found) == [3, 1]
    for need in (Want("B4"), Want("height"), RED):
        with pytest.raises(InputError, match="not recognised"):
            match([need], found)


def test_a_name_that_no_sensor_knows_serves_a_need_of_that_name(folder: Path) -> None:
    found = bands(raster(folder / "dem.tif", ["slope", "Height_m"], "float32"))
    assert numbers([Want("height m")], found) == [2]


def test_two_bands_that_fit_equally_well_are_a_question(folder: Path) -> None:
    found = bands(raster(folder / "x.tif", 3), sensor="sentinel-2-l2a", bands=("B04", "B04", "B08"))
    with pytest.raises(InputError, match="there 2 times") as caught:
        match([RED], found)
    assert "number 1, number 2" in caught.value.sentence() and "::bands=" in caught.value.fix


def test_everything_that_is_missing_is_named_at_once(folder: Path) -> None:
    found = bands(raster(folder / "S2_L2A_20200613.tif", ["B02", "B04", "mystery"]))
    with pytest.raises(InputError) as caught:
        match([RED, RED_EDGE, NIR], found)
    assert "red edge 1 (B05, 704 nm), near infrared (B08, 833 nm)" in caught.value.what
    assert "B02" in caught.value.why and "::bands=" in caught.value.fix


def test_a_band_for_two_needs_is_said_once(folder: Path) -> None:
    found = bands(raster(folder / "LC08_20200613.tif", ["B2", "B3", "B4", "B5"]), sensor="landsat-8-l2")
    needed = [NIR, Want("B8A", 865, 21), RED]
    (words,) = shared_bands(needed, match(needed, found))
    assert words.endswith("stands in for B08 and B8A")
    assert shared_bands([NIR, RED], match([NIR, RED], found)) == []


@pytest.mark.parametrize(
    ("need", "words"),
    [
        (RED, "red (B04, 665 nm)"),
        (NIR, "near infrared (B08, 833 nm)"),
        (Want("red", 665, 31), "red (665 nm)"),
        (Want("VV", polarisation="VV"), "VV polarisation"),
        (Want("height"), "height"),
        (Want("B99", 3900, 10), "B99 (3900 nm)"),
    ],
)
def test_needs_as_practitioners_say_them(need: Want, words: str) -> None:
    assert words_of(need) == words
