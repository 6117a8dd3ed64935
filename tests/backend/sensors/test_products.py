"""Products in their operators' layouts: SAFE, Landsat folders, PlanetScope, hyperspectral, mosaics, series, VRT."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import rasterio
from rasterio.shutil import copy as copy_raster

from backend.protocol.errors import InputError, ParameterError, SourceError
from backend.protocol.jobs import InputSpec
from backend.sensors.inspect import inspect
from backend.sensors.resolve import resolve
from tests.backend.sensors.builders import RGB, S2_RGBN, Want, envi, landsat, raster, safe, safe_level_1, spec, zipped

B05 = Want("B05", 705, 15)
B02 = Want("B02", 492, 66)
B08 = Want("B08", 833, 106)


@pytest.mark.parametrize("form", ["folder", "zip", "metadata file"])
def test_safe(tmp_path: Path, form: str) -> None:
    root = safe(tmp_path)
    path = {"folder": root, "zip": zipped(root), "metadata file": root / "MTD_MSIL2A.xml"}[form]
    found = inspect(path)
    assert (found.layout, found.sensor, found.certainty, found.date, found.baseline) == (
        "SAFE", "sentinel-2-l2a", "certain", "2022-08-12", "04.00")  # fmt: skip
    assert [band.band.name for band in found.bands if band.band] == ["B02", "B05", "B08"]
    assert not found.problems and not found.questions()
    resolved = resolve(spec(path), [B08, B02, B05], "reflectance")
    assert [(len(layer.indexes), layer.nodata) for layer in resolved.source.layers] == [(1, 0.0)] * 3
    assert "B02_10m" in resolved.source.layers[1].paths[0]
    assert resolved.source.grid.pixel_size == (10.0, 10.0)
    assert resolved.conversions[0].offset == -1000 and resolved.conversions[0].scale == pytest.approx(1e-4)


def test_safe_level_1(tmp_path: Path) -> None:
    path = safe_level_1(tmp_path)
    found = inspect(path)
    assert (found.sensor, found.level, found.baseline) == ("sentinel-2-l1c", "L1C", "05.09")
    resolved = resolve(spec(path), [B02, B08, Want("B8A", 865, 21)], "reflectance")
    # `band_id` 8 is B8A: numbers run B8, B8A, B9.
    assert [conversion.offset for conversion in resolved.conversions] == [-1000, -1000, -2000]


def test_band_images_of_a_product_know_their_product(tmp_path: Path) -> None:
    root = safe(tmp_path)
    images = sorted(str(path) for path in root.rglob("R10m/*.jp2"))
    resolved = resolve(InputSpec("ms", tuple(images)), [B08, B02], "reflectance")
    assert resolved.sensor == "sentinel-2-l2a" and resolved.date == "2022-08-12"
    assert {conversion.offset for conversion in resolved.conversions} == {-1000}
    assert inspect(images).layout == "one file per band"


def test_old_baseline_has_no_offset(tmp_path: Path) -> None:
    resolved = resolve(spec(safe(tmp_path, "02.14", "2020-08-12", None)), [B02], "reflectance")
    assert resolved.conversions[0].offset == 0


def test_reprocessed_product_follows_its_metadata_and_not_its_date(tmp_path: Path) -> None:
    resolved = resolve(spec(safe(tmp_path, "05.00", "2018-08-12", -1000)), [B02], "reflectance")
    assert resolved.conversions[0].offset == -1000


def test_damaged_and_hostile_metadata(tmp_path: Path) -> None:
    root = safe(tmp_path)
    metadata = root / "MTD_MSIL2A.xml"
    text = metadata.read_text()
    metadata.write_text(text[: len(text) // 2])
    with pytest.raises(SourceError, match="damaged"):
        inspect(root)
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]>'
    metadata.write_text(text.replace("?>\n", f"?>\n{bomb}", 1))
    with pytest.raises(SourceError, match="document type"):
        inspect(root)


def test_product_without_images(tmp_path: Path) -> None:
    root = safe(tmp_path)
    for image in root.rglob("*.jp2"):
        image.unlink()
    with pytest.raises(SourceError, match="no image of a band"):
        inspect(root)


def test_landsat_level_2_folder(tmp_path: Path) -> None:
    root = landsat(tmp_path)
    found = inspect(root)
    assert (found.layout, found.sensor, found.date) == ("one file per band", "landsat-8-l2", "2015-08-18")
    assert any("QA_PIXEL" in doubt for doubt in found.doubts)
    resolved = resolve(spec(root), S2_RGBN, "reflectance")
    assert [Path(layer.paths[0]).stem[-5:] for layer in resolved.source.layers] == ["SR_B4", "SR_B3", "SR_B2", "SR_B5"]
    converted = (10_000 + resolved.conversions[0].offset) * resolved.conversions[0].scale
    assert converted == pytest.approx(10_000 * 2.75e-5 - 0.2)


def test_landsat_without_its_metadata_follows_the_collection(tmp_path: Path) -> None:
    resolved = resolve(spec(landsat(tmp_path, metadata=False)), S2_RGBN[:1], "reflectance")
    assert resolved.conversions[0].scale == pytest.approx(2.75e-5) and resolved.date == "2015-08-18"


def test_landsat_level_1_is_corrected_for_the_sun(tmp_path: Path) -> None:
    resolved = resolve(spec(landsat(tmp_path, "L1TP")), S2_RGBN[:1], "reflectance")
    conversion = resolved.conversions[0]
    assert resolved.sensor == "landsat-8-l1" and not resolved.warnings[1:]
    expected = (10_000 * 2e-5 - 0.1) / math.sin(math.radians(30))
    assert (10_000 + conversion.offset) * conversion.scale == pytest.approx(expected)


def test_landsat_band_numbers_do_not_pass_for_those_of_sentinel(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="red edge 1") as caught:
        resolve(spec(landsat(tmp_path)), [B05], "reflectance")
    assert "SR_B5 (nir08, 865 nm)" in caught.value.sentence()


@pytest.mark.parametrize(
    ("name", "bands", "sensor", "first"),
    [
        ("20230412_101530_12_2489_3B_AnalyticMS_SR_8b_harmonized_clip.tif", 8, "planetscope-8", "coastal_blue"),
        ("20170828_101530_1003_3B_AnalyticMS_SR.tif", 4, "planetscope-4", "blue"),
    ],
)
def test_planetscope(tmp_path: Path, name: str, bands: int, sensor: str, first: str) -> None:
    path = raster(tmp_path / name, bands, pixel=3.0)
    found = inspect(path)
    assert found.sensor == sensor and found.bands[0].band is not None and found.bands[0].band.name == first
    resolved = resolve(spec(path), S2_RGBN[:3], "reflectance")
    assert resolved.conversions[0].scale == pytest.approx(1e-4) and resolved.date is not None


def test_planetscope_radiance_is_no_reflectance(tmp_path: Path) -> None:
    path = raster(tmp_path / "20170828_101530_1003_3B_AnalyticMS.tif", 4, pixel=3.0)
    with pytest.raises(InputError, match="::unit=surface-reflectance"):
        resolve(spec(path), S2_RGBN, "reflectance")
    assert resolve(spec(path, unit="surface-reflectance"), S2_RGBN, "reflectance").conversions[0].scale == 1e-4


@pytest.mark.parametrize(("unit", "factor"), [("Nanometers", 1.0), ("Micrometers", 1e-3)])
def test_hyperspectral_by_wavelength(tmp_path: Path, unit: str, factor: float) -> None:
    waves = [482.0, 492.0, 502.0, 560.0, 661.0, 666.0, 705.0]
    path = envi(tmp_path / "scene.img", [wave * factor for wave in waves], unit)
    found = inspect(path)
    assert found.sensor == "hyperspectral" and found.date == "2021-06-01"
    assert [band.band.center_nm for band in found.bands if band.band] == pytest.approx(waves)
    resolved = resolve(spec(path), [*S2_RGBN[:3], B05], "reflectance")
    assert resolved.source.layers[0].indexes == (6, 4, 2, 7)
    assert resolved.conversions[0].scale == pytest.approx(1e-4)
    with pytest.raises(InputError, match="near infrared"):
        resolve(spec(path), S2_RGBN, "reflectance")


def test_hls_names(tmp_path: Path) -> None:
    for band in ("B02", "B03", "B04", "B8A", "Fmask"):
        raster(tmp_path / f"HLS.S30.T31UFS.2023001T105431.v2.0.{band}.tif", 1, "int16", pixel=30.0, nodata=-9999)
    found = inspect(tmp_path)
    assert (found.sensor, found.date) == ("hls-s30", "2023-01-01")
    resolved = resolve(spec(tmp_path), S2_RGBN[:3], "reflectance")
    assert {(c.offset, c.scale) for c in resolved.conversions} == {(0, 1e-4)}


def test_stack_and_single_bands_together(tmp_path: Path) -> None:
    fine = raster(tmp_path / "S2_L2A_20200613_10m.tif", ["B02", "B03", "B04", "B08"])
    coarse = raster(tmp_path / "S2_L2A_20200613_20m.tif", ["B05", "B11"], size=4, pixel=20.0)
    resolved = resolve(InputSpec("ms", (str(coarse), str(fine))), [*S2_RGBN, B05], "reflectance")
    assert [layer.indexes for layer in resolved.source.layers] == [(3, 2, 1, 4), (1,)]
    assert resolved.source.grid.width == 8


def test_mosaic_of_tiles_and_of_neighbouring_dates(tmp_path: Path) -> None:
    one = raster(tmp_path / "S2_L2A_20200613.tif", ["B02", "B03", "B04", "B08"])
    other = raster(tmp_path / "S2_L2A_20200616.tif", ["B02", "B03", "B04", "B08"], origin=(600_080.0, 5_000_000.0))
    resolved = resolve(InputSpec("ms", (str(one), str(other))), S2_RGBN, "reflectance")
    assert resolved.source.layers[0].paths == (str(one), str(other)) and resolved.source.grid.width == 16


def test_files_of_different_scale_are_no_mosaic(tmp_path: Path) -> None:
    one = raster(tmp_path / "a.tif", ["red", "green", "blue"], "uint8", pixel=0.02)
    other = raster(tmp_path / "b.tif", ["red", "green", "blue"], "uint8", pixel=300.0)
    with pytest.raises(SourceError, match=r"0\.02 to 300 m"):
        resolve(InputSpec("hr", (str(one), str(other))), RGB, "dn")


def test_dates_of_one_place_are_a_series(tmp_path: Path) -> None:
    for day in ("20200613", "20200620"):
        raster(tmp_path / f"S2_L2A_{day}.tif", ["B02", "B03", "B04", "B08"])
    with pytest.raises(InputError, match="holds 2 dates"):
        resolve(spec(tmp_path), S2_RGBN, "reflectance")
    resolved = resolve(spec(tmp_path, date="2020-06-20"), S2_RGBN, "reflectance")
    assert resolved.date == "2020-06-20" and resolved.source.layers[0].paths[0].endswith("20200620.tif")
    with pytest.raises(ParameterError, match="2020-06-20"):
        resolve(spec(tmp_path, date="2020-06-30"), S2_RGBN, "reflectance")


@pytest.mark.parametrize("style", ["suffix", "prefix", "repeat"])
def test_stacked_series(tmp_path: Path, style: str) -> None:
    bands = ["B2", "B3", "B4", "B8"]
    names = {
        "suffix": bands + [f"{name}_1" for name in bands],
        "prefix": [f"{step}_{name}" for step in (0, 1) for name in bands],
        "repeat": bands * 2,
    }[style]
    path = raster(tmp_path / "s2_2019-01-01_2019-03-02.tif", [*names, "slope"])
    found = inspect(path)
    assert found.layout == "series in one file" and found.dates == ("2019-01-01", "2019-01-31")
    assert len(found.bands) == 5
    resolved = resolve(spec(path, date="2019-02-10", sensor="sentinel-2-l2a"), S2_RGBN, "reflectance")
    assert resolved.source.layers[0].indexes == (7, 6, 5, 8)


def test_vrt_of_bands(tmp_path: Path) -> None:
    path = raster(tmp_path / "S2_L2A_20200613.tif", ["B02", "B03", "B04", "B08"])
    copy_raster(path, tmp_path / "S2_L2A_20200613.vrt", driver="VRT")
    resolved = resolve(spec(tmp_path / "S2_L2A_20200613.vrt"), S2_RGBN, "reflectance")
    assert resolved.source.layers[0].indexes == (3, 2, 1, 4)


def test_fourth_band_coloured_as_alpha_stays_a_band_when_named(tmp_path: Path) -> None:
    from rasterio.enums import ColorInterp as C

    colours = (C.red, C.green, C.blue, C.alpha)
    named = raster(tmp_path / "naip_a.tif", ["red", "green", "blue", "nir"], "uint8", colorinterp=colours)
    unnamed = raster(tmp_path / "photo.tif", 4, "uint8", colorinterp=colours)
    assert [band.words() for band in inspect(named).bands][-1].startswith("nir")
    assert len(inspect(unnamed).bands) == 3
    assert resolve(spec(unnamed), RGB, "dn").source.layers[0].indexes == (1, 2, 3)


def test_cube_written_with_a_time_dimension(tmp_path: Path, kit: Path) -> None:
    path = kit / "openeo_cubes/s2_l2a_antwerp_2023-04.nc"
    resolved = resolve(spec(path, date="2023-04-07", offset=0.0), [B08, Want("B04", 665, 31)], "reflectance")
    assert [layer.indexes for layer in resolved.source.layers] == [(3,), (3,)]
    one = f'NETCDF:"{path}":S2-L2A-B08'
    assert resolve(spec(one, date="2023-04-07", offset=0.0), [B08], "reflectance").source.layers[0].indexes == (3,)
    both = InputSpec("ms", (one, f'NETCDF:"{path}":S2-L2A-B04'), date="2023-04-07", offset=0.0)
    assert resolve(both, [B08, Want("B04", 665, 31)], "reflectance").source.count == 2
    with pytest.raises(ParameterError, match="::date=2023-04-05"):
        resolve(spec(path, date="2023-04-06", offset=0.0), [B08], "reflectance")
    with pytest.raises(InputError, match="12 dates"):
        resolve(spec(path, offset=0.0), [B08], "reflectance")


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        inspect(tmp_path / "missing.tif")
    with pytest.raises(SourceError, match="no raster"):
        inspect(tmp_path)
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(SourceError, match="can be opened"):
        inspect(tmp_path)
    with pytest.raises(SourceError, match="no raster was given"):
        inspect([])


def test_raster_without_a_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "S2_L2A_20200613.tif"
    raster(path, ["B02", "B03", "B04", "B08"])
    with rasterio.open(path) as dataset:
        profile, data = dataset.profile, dataset.read()
    del profile["crs"], profile["transform"]
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(data)
        dataset.descriptions = ("B02", "B03", "B04", "B08")
    with pytest.raises(SourceError, match="coordinate reference system"):
        resolve(spec(path), S2_RGBN, "reflectance")
