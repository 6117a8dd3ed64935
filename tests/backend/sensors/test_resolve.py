"""What numbers mean, and which band serves which need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from backend.geo.grid import Window
from backend.geo.reader import StripReader
from backend.protocol.errors import InputError, ParameterError
from backend.sensors.resolve import Conversion, resolve
from backend.tasks.inputs import operations
from tests.backend.sensors.builders import RGB, S1, S2_RGBN, Want, raster, spec

BANDS = ["B02", "B03", "B04", "B08"]


def physical(conversions: Sequence[Conversion], values: np.ndarray) -> np.ndarray:
    """Stored numbers, one row or plane per band, as the engine converts them."""
    planes = values.astype(np.float32).reshape(len(conversions), -1, values.shape[-1])
    for operation in operations(conversions, ()):
        operation.apply(planes)
    return planes


# --- the offset of Sentinel-2


@pytest.mark.parametrize(
    ("name", "tags", "offset"),
    [
        ("S2_L2A_20220124.tif", {}, 0),
        ("S2A_MSIL2A_20220812T105031_N0400_R051_T31UFS_20220812T170000.tif", {}, -1000),
        ("S2A_MSIL2A_20220812T105031_N0301_R051_T31UFS_20220812T170000.tif", {}, 0),
        ("S2A_MSIL2A_20180812T105031_N0500_R051_T31UFS_20230812T170000.tif", {}, -1000),
        ("S2_L2A_20220812.tif", {"PROCESSING_BASELINE": "04.00"}, -1000),
    ],
)
def test_offset_by_metadata(tmp_path: Path, name: str, tags: dict[str, str], offset: float) -> None:
    resolved = resolve(spec(raster(tmp_path / name, BANDS, tags=tags)), S2_RGBN, "reflectance")
    assert {conversion.offset for conversion in resolved.conversions} == {offset}


@pytest.mark.parametrize("name", ["S2_L2A_20220125.tif", "S2_L2A.tif"])
def test_offset_that_nothing_decides_is_asked_for(tmp_path: Path, name: str) -> None:
    path = raster(tmp_path / name, BANDS, tags={"units": "surface reflectance x 10000"})
    with pytest.raises(InputError, match="::offset=-1000") as caught:
        resolve(spec(path), S2_RGBN, "reflectance")
    assert "04.00" in caught.value.sentence()
    for offset in (-1000.0, 0.0):
        resolved = resolve(spec(path, offset=offset), S2_RGBN, "reflectance")
        assert (resolved.conversions[0].offset, resolved.conversions[0].scale) == (offset, 1e-4)
    assert resolve(spec(path, date="2021-05-01"), S2_RGBN, "reflectance").conversions[0].offset == 0
    assert resolve(spec(path, unit="baseline-04.00"), S2_RGBN, "reflectance").conversions[0].offset == -1000


def test_offset_stated_by_the_file(tmp_path: Path) -> None:
    path = raster(tmp_path / "S2_L2A_20230125.tif", BANDS, scales=[1e-4] * 4, offsets=[-0.1] * 4)
    conversion = resolve(spec(path), S2_RGBN, "reflectance").conversions[0]
    assert conversion.offset == pytest.approx(-1000) and conversion.scale == pytest.approx(1e-4)


def test_amazon_sample_is_asked_for_and_right_once_told(kit: Path) -> None:
    path = kit / "sentinel2_amazon/sentinel2_amazon.tif"
    with pytest.raises(InputError, match="::offset=-1000"):
        resolve(spec(path), S2_RGBN, "reflectance")
    resolved = resolve(spec(path, offset=-1000.0), S2_RGBN, "reflectance")
    with StripReader(resolved.source, resolved.source.grid) as reader:
        values, valid = reader.read(Window(0, 0, 100, 100))
    red = physical(resolved.conversions, values)[0][valid]
    assert 0.0 < float(np.median(red)) < 0.1


def test_floating_point_reflectance_or_digital_numbers(tmp_path: Path) -> None:
    path = raster(tmp_path / "S2_L2A_20200613.tif", BANDS, "float32")
    with pytest.raises(InputError, match="::unit=reflectance, or ::offset=0 for digital numbers"):
        resolve(spec(path), S2_RGBN, "reflectance")
    assert resolve(spec(path, unit="reflectance"), S2_RGBN, "reflectance").conversions[0] == Conversion()
    assert resolve(spec(path, unit="dn"), S2_RGBN, "reflectance").conversions[0].scale == 1e-4
    assert resolve(spec(path, offset=0.0), S2_RGBN, "reflectance").conversions[0].scale == 1e-4
    stated = raster(tmp_path / "S2_L2A_20230613.tif", BANDS, "float32", tags={"units": "surface reflectance"})
    assert resolve(spec(stated), S2_RGBN, "reflectance").conversions[0] == Conversion()


# --- decibel and linear


def test_radar_unit_that_nothing_states_is_asked_for(tmp_path: Path) -> None:
    path = raster(tmp_path / "s1_20200613.tif", ["VV", "VH"], "float32")
    with pytest.raises(InputError, match="::unit=db or ::unit=linear"):
        resolve(spec(path, modality="sar"), S1, "db")
    assert resolve(spec(path, unit="db"), S1, "db").conversions[0].log == ""
    assert resolve(spec(path, unit="linear"), S1, "db").conversions[0].log == "to_db"
    assert resolve(spec(path, unit="db"), S1, "linear").conversions[0].log == "to_linear"


@pytest.mark.parametrize(
    ("name", "tags", "log"),
    [
        ("s1_20200613.tif", {"units": "sigma0 dB"}, ""),
        ("s1_20200613.tif", {"unit": "linear power"}, "to_db"),
        ("s1_20200613_db.tif", {}, ""),
    ],
)
def test_radar_unit_by_metadata_or_name(tmp_path: Path, name: str, tags: dict[str, str], log: str) -> None:
    path = raster(tmp_path / name, ["VV", "VH"], "float32", tags=tags)
    assert resolve(spec(path, modality="sar"), S1, "db").conversions[0].log == log


def test_scaled_decibel_of_the_kit(kit: Path) -> None:
    path = kit / "worldcereal_sits/be_2019_b/s1/S1_GRD_ASC_20180802T173151.tif"
    resolved = resolve(spec(path, modality="sar"), S1, "db")
    assert resolved.conversions[0] == Conversion(0.0, 1e-4) and resolved.source.layers[0].indexes == (1, 2)
    with StripReader(resolved.source, resolved.source.grid) as reader:
        values, valid = reader.read(Window(0, 0, 32, 32))
    assert -30 < float(np.median(physical(resolved.conversions, values)[0][valid])) < 0


def test_amplitudes_of_the_worldcereal_kind(kit: Path) -> None:
    path = kit / "openeo_cubes/s1_grd_antwerp_2023-04.nc"
    options = {"modality": "sar", "date": "2023-04-03", "unit": "worldcereal", "nodata": 65535.0}
    resolved = resolve(spec(path, **options), S1, "db")
    numbers = np.array([1000.0, 3000.0], dtype=np.float32)
    assert physical(resolved.conversions[:1], numbers).ravel() == pytest.approx(20 * np.log10(numbers) - 83, abs=1e-3)
    assert resolved.source.layers[0].nodata == 65535.0
    linear = physical(resolve(spec(path, **options), S1, "linear").conversions[:1], numbers).ravel()
    assert 10 * np.log10(linear) == pytest.approx(20 * np.log10(numbers) - 83, abs=1e-3)


# --- pictures


def test_pictures_keep_their_numbers(tmp_path: Path) -> None:
    path = raster(tmp_path / "photo.tif", 3, "uint8", photometric="RGB")
    resolved = resolve(spec(path, modality="hr"), RGB, "dn")
    assert resolved.conversions == (Conversion(),) * 3 and resolved.sensor == "aerial-rgb"
    with pytest.raises(InputError, match="without a calibration"):
        resolve(spec(path), RGB, "reflectance")
    assert resolve(spec(path, unit="reflectance", scale=1 / 255), RGB, "reflectance").conversions[0].scale == 1 / 255


def test_sixteen_bits_are_no_picture(tmp_path: Path) -> None:
    path = raster(tmp_path / "wv2_20200613.tif", ["Blue", "Green", "Red", "NIR1"])
    with pytest.raises(InputError, match="8-bit"):
        resolve(spec(path), RGB, "dn")
    assert resolve(spec(path, unit="dn", scale=0.125), RGB, "dn").conversions[0].scale == 0.125


def test_models_without_wavelengths_take_bands_by_place(tmp_path: Path) -> None:
    path = raster(tmp_path / "x.tif", 3, "float32")
    resolved = resolve(spec(path, modality="raster"), [Want("B3"), Want("B1")], "dn")
    assert resolved.source.layers[0].indexes == (3, 1) and resolved.sensor is None
    named = raster(tmp_path / "y.tif", ["slope", "height"], "float32")
    assert resolve(spec(named), [Want("height")], "dn").source.layers[0].indexes == (2,)
    with pytest.raises(InputError, match="B3"):
        resolve(spec(named), [Want("B3")], "dn")


# --- which band serves which need


def test_missing_band_in_words(tmp_path: Path) -> None:
    path = raster(tmp_path / "naip_20200613.tif", ["red", "green", "blue", "nir"], "uint8")
    with pytest.raises(InputError) as caught:
        resolve(spec(path, unit="reflectance", scale=1 / 255), [*S2_RGBN, Want("B05", 705, 15)], "reflectance")
    assert "red edge 1 (B05, 705 nm)" in caught.value.sentence() and "nir (845 nm)" in caught.value.sentence()


def test_worldcereal_block_without_its_ten_metre_bands(kit: Path) -> None:
    with pytest.raises(InputError, match=r"red \(B04, 665 nm\)"):
        resolve(spec(kit / "worldcereal_sits/be_2019_c/s2/S2_L2A_20181028T105138.tif"), S2_RGBN, "reflectance")


def test_other_sensor_by_wavelength(kit: Path) -> None:
    resolved = resolve(spec(kit / "landsat8_zion/landsat8_zion.tif"), S2_RGBN, "reflectance")
    assert resolved.source.layers[0].indexes == (3, 2, 1, 4) and resolved.sensor == "landsat-8-l1"
    assert any("sun's elevation" in warning for warning in resolved.warnings)


def test_one_band_for_two_needs_is_said(kit: Path) -> None:
    needs = [Want("B08", 833, 106), Want("B8A", 865, 21)]
    resolved = resolve(spec(kit / "landsat8_zion/landsat8_zion.tif"), needs, "reflectance")
    assert resolved.source.layers[0].indexes == (4, 4)
    assert any("stands in for B08 and B8A" in warning for warning in resolved.warnings)


def test_common_name_where_narrow_bands_miss_each_other(tmp_path: Path) -> None:
    path = raster(tmp_path / "naip_20200613.tif", ["red", "green", "blue", "nir"], "uint8")
    options = {"unit": "reflectance", "scale": 1 / 255}
    resolved = resolve(spec(path, **options), S2_RGBN, "reflectance")
    assert resolved.source.layers[0].indexes == (1, 2, 3, 4)
    # No narrow red edge, and no band that merely is the nearest.
    for need in (Want("B07", 783, 20), Want("B11", 1614, 91)):
        with pytest.raises(InputError):
            resolve(spec(path, **options), [need], "reflectance")


def test_panchromatic_stands_in_for_no_colour(kit: Path) -> None:
    for path in ("spacenet6_rotterdam/pan_1.tif", "spacenet4_atlanta/pan_0p5m.tif"):
        with pytest.raises(InputError, match="green"):
            resolve(spec(kit / path, unit="reflectance", scale=1e-4), RGB, "reflectance")
    pan = resolve(spec(kit / path, unit="reflectance", scale=1e-4), [Want("pan", 600, 200)], "reflectance")
    assert pan.source.count == 1


def test_user_names_the_bands(tmp_path: Path) -> None:
    path = raster(tmp_path / "x_20200613.tif", 5)
    resolved = resolve(spec(path, sensor="sentinel-2-l2a", bands=("B8", "B4", "-", "B3", "B2")), S2_RGBN, "reflectance")
    assert resolved.source.layers[0].indexes == (2, 4, 5, 1)
    with pytest.raises(ParameterError, match="names 2 bands, but the input has 5"):
        resolve(spec(path, bands=("B8", "B4")), S2_RGBN, "reflectance")
    with pytest.raises(ParameterError, match='"B99" is no band'):
        resolve(spec(path, sensor="sentinel-2-l2a", bands=("B8", "B4", "B99", "B3", "B2")), S2_RGBN, "reflectance")
    with pytest.raises(InputError, match="there 2 times"):
        resolve(spec(path, sensor="sentinel-2-l2a", bands=("B8", "B4", "B4", "B3", "B2")), S2_RGBN, "reflectance")


def test_user_bands_win_over_descriptions(tmp_path: Path) -> None:
    path = raster(tmp_path / "S2_L2A_20200613.tif", BANDS)
    resolved = resolve(spec(path, bands=("B08", "B04", "B03", "B02")), S2_RGBN, "reflectance")
    assert resolved.source.layers[0].indexes == (2, 3, 4, 1)


def test_radar_by_polarisation(kit: Path) -> None:
    resolved = resolve(spec(kit / "spacenet6_rotterdam/sar_900m_db.tif", modality="sar"), S1, "db")
    assert resolved.source.layers[0].indexes == (4, 3)
    folder = kit / "bigearthnet/s1/S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48"
    files = [layer.paths[0][-6:] for layer in resolve(spec(folder, modality="sar"), S1, "db").source.layers]
    assert files == ["VV.tif", "VH.tif"]


def test_per_band_files_of_three_resolutions(kit: Path) -> None:
    folder = kit / "bigearthnet/s2/S2A_MSIL2A_20170613T101031_87_48"
    resolved = resolve(spec(folder), [*S2_RGBN, Want("B05", 705, 15), Want("B01", 443, 21)], "reflectance")
    assert resolved.source.grid.width == 120 and len(resolved.source.layers) == 6


def test_stacked_months_choose_one(kit: Path) -> None:
    path = kit / "cropharvest_togo/togo_98_2019-02-06_2020-02-01.tif"
    resolved = resolve(spec(path, date="2019-03-20", offset=0.0), S2_RGBN, "reflectance")
    assert resolved.source.layers[0].indexes == tuple(17 + place for place in (6, 5, 4, 10))
    both = resolve(spec(path, date="2019-03-20", unit="db", modality="sar"), S1, "db")
    assert both.source.layers[0].indexes == (18, 19) and both.sensor == "sentinel-1-grd"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unit": "decibels"}, "is no unit"),
        ({"date": "13.06.2020"}, "is no date"),
        ({"sensor": "sentinel-9"}, "no sensor named"),
    ],
)
def test_options_that_mean_nothing(tmp_path: Path, options: dict[str, str], words: str) -> None:
    path = raster(tmp_path / "S2_L2A_20200613.tif", BANDS)
    with pytest.raises(ParameterError, match=words):
        resolve(spec(path, **options), S2_RGBN, "reflectance")
