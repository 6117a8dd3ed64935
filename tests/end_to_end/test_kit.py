"""Every raster of the data kit through `inspect`, every kind of it through `segment`, its known traps one by one."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.warp import reproject

from backend.command_line.values import parse_input
from backend.manifest.load import load
from backend.manifest.locate import BUILT_IN
from backend.manifest.package import BandNeed, InputSlot, Step
from backend.sensors.inspect import InputBand, inspect
from backend.sensors.radiometry import Radiometry
from backend.tasks.inspect import inspect as inspected
from tests import packages
from tests.end_to_end.command import done, earthprism, refused

pytestmark = pytest.mark.kit

SUFFIXES = (".tif", ".jp2", ".nc", ".png", ".jpg")
NODATA = 255
# Pattern of a group of rasters: the sensor that is recognised in all of them, "" for none.
GROUPS = {
    "bigearthnet/s1/*/*.tif": "sentinel-1-grd",
    "bigearthnet/s2/*/*.tif": "sentinel-2-l2a",
    "boadella_s2/S2_*.tif": "sentinel-2-l2a",
    "boadella_s2/water_*.tif": "",
    "clouds_csmask/sentinel2.tif": "sentinel-2-l1c",
    "clouds_csmask/landsat5.tif": "landsat-5-l1",
    "clouds_csmask/*_mask.tif": "",
    "cropharvest_togo/*.tif": "sentinel-2-l1c",
    "edge_cases/landsat7*.tif": "landsat-7-l2",
    "edge_cases/uav*.tif": "aerial-rgb",
    "eurosat/ms/*/*.tif": "sentinel-2-l1c",
    "eurosat/rgb/*/*.jpg": "aerial-rgb",
    "hot_buildings/*/images/*": "aerial-rgb",
    "hot_buildings/*/masks/*.tif": "",
    "landsat8_zion/landsat8_zion.tif": "landsat-8-l1",
    "landsat8_zion/[ns]*.tif": "",
    "landsat_timelapse/*.tif": "multispectral",
    "modis_sinop/*.jp2": "modis-vi",
    "naip_trees/images/*.tif": "naip",
    "naip_wetland_series/*.tif": "naip",
    "neon_trees/images/*.tif": "aerial-rgb",
    "openeo_cubes/s1*.nc": "sentinel-1-grd",
    "openeo_cubes/s2*.nc": "sentinel-2-l2a",
    "openeo_cubes/world*.nc": "sentinel-2-l2a",
    "rsvqa_hr/images/*.tif": "aerial-rgb",
    "rsvqa_lr/images/*.tif": "aerial-rgb",
    "s2_ships/images/*.tif": "sentinel-2-l2a",
    "sen1floods11/s1/*.tif": "sentinel-1-grd",
    "sen1floods11/s2/*.tif": "sentinel-2-l1c",
    "sen1floods11/label/*.tif": "",
    "sentinel2_amazon/*.tif": "sentinel-2-l2a",
    "spacenet4_atlanta/pan*.tif": "multispectral",
    "spacenet4_atlanta/buildings.tif": "",
    "spacenet6_rotterdam/[mp]*.tif": "worldview-2",
    "spacenet6_rotterdam/rgb*.tif": "aerial-rgb",
    "spacenet6_rotterdam/sar*.tif": "sar",
    "spacenet6_rotterdam/slc*.tif": "",
    "worldcereal_sits/*/l8/*.tif": "landsat-8-l2",
    "worldcereal_sits/*/s1/*.tif": "sentinel-1-grd",
    "worldcereal_sits/*/s2/*.tif": "sentinel-2-l2a",
    "worldcereal_sits/*/*.tif": "",
}
UNPLACED = ("clouds_csmask/", "eurosat/rgb/", "spacenet6_rotterdam/slc")

# One raster of every kind of file, with the options that it needs.
SEGMENTED = [
    "bigearthnet/s1/S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48/S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48_VV.tif",
    "bigearthnet/s2/S2A_MSIL2A_20170613T101031_87_48/S2A_MSIL2A_20170613T101031_87_48_B05.tif",
    "boadella_s2/S2_L2A_boadella_2020-06-21.tif",
    "boadella_s2/water_2020-06-21.tif",
    "cropharvest_togo/togo_98_2019-02-06_2020-02-01.tif::date=2019-07-15;unit=db",
    "edge_cases/landsat7_rgb_nodata0.tif",
    "edge_cases/uav_ortho_rgba_2cm.tif",
    "eurosat/ms/Forest/Forest_1.tif::offset=0",
    "hot_buildings/kampala/images/kampala_19_309606_261636.tif",
    "hot_buildings/kampala/masks/kampala_19_309606_261636.tif",
    "hot_buildings/banepa/images/banepa_20_773394_440526.jpg",
    "hot_buildings/banepa/images/banepa_20_773397_440529.png",
    "landsat8_zion/landsat8_zion.tif",
    "landsat8_zion/srtm.tif",
    "landsat8_zion/nlcd2011_8class.tif",
    "landsat_timelapse/landsat_1985.tif",
    "modis_sinop/TERRA_MODIS_012010_NDVI_2013-09-14.jp2",
    "naip_trees/images/bishop_2020_2.tif",
    "naip_wetland_series/naip_20090818.tif",
    "neon_trees/images/HARV_022.tif",
    "openeo_cubes/s1_grd_antwerp_2023-04.nc::date=2023-04-03;unit=worldcereal;nodata=65535",
    "openeo_cubes/s2_l2a_antwerp_2023-04.nc::date=2023-04-02;offset=0;nodata=65535",
    "openeo_cubes/s2_l2a_antwerp_2022-11_2023-02.nc::date=2022-11-01;offset=0;nodata=65535",
    "openeo_cubes/worldcereal_s1s2_monthly_2020-11_2021-10.nc::date=2021-03-01;bands=B02/-/-/-/-/-/-/B03/B04/-/-/-/-/-/-",
    "rsvqa_hr/images/1003.tif",
    "rsvqa_lr/images/121.tif",
    "s2_ships/images/ship_000_2022-08-12.tif::offset=0",
    "sen1floods11/s1/Sri-Lanka_534068_S1Hand.tif",
    "sen1floods11/s2/Spain_7370579_S2Hand.tif::offset=0",
    "sen1floods11/label/Ghana_53713_LabelHand.tif",
    "sentinel2_amazon/sentinel2_amazon.tif::offset=-1000",
    "spacenet4_atlanta/pan_0p5m.tif::unit=reflectance;scale=0.0001",
    "spacenet4_atlanta/buildings.tif",
    "spacenet6_rotterdam/ms_1.tif::unit=reflectance;scale=0.0001",
    "spacenet6_rotterdam/pan_1.tif::unit=reflectance;scale=0.0001",
    "spacenet6_rotterdam/rgb_900m.tif",
    "spacenet6_rotterdam/sar_900m_db.tif",
    "worldcereal_sits/be_2019_b/s1/S1_GRD_ASC_20180802T173151.tif",
    "worldcereal_sits/be_2019_b/s2/S2_L2A_20180804T105022.tif",
    "worldcereal_sits/be_2019_b/labels_ct.tif",
    "worldcereal_sits/be_2019_b/labels_lc.tif",
    "worldcereal_sits/be_2019_b/s2_scl.tif::date=2018-10-08",
    "worldcereal_sits/be_2019_c/l8/L8_SR_20180802.tif",
    "worldcereal_sits/be_2019_c/s2/S2_L2A_20181028T105138.tif",
]  # fmt: skip


def rasters(kit: Path) -> list[Path]:
    """Every raster of the kit."""
    return sorted(path for path in kit.rglob("*") if path.suffix in SUFFIXES)


def test_every_raster_is_inspected(kit: Path) -> None:
    seen: Counter[str] = Counter()
    wrong = []
    for path in rasters(kit):
        name = path.relative_to(kit).as_posix()
        pattern = next(pattern for pattern in GROUPS if path.relative_to(kit).match(pattern))
        found = inspected([str(path)])
        unplaced = name.startswith(UNPLACED)
        if (found["sensor"] or "", bool(found["problems"])) != (GROUPS[pattern], unplaced):
            wrong.append((name, found["sensor"], found["problems"]))
        seen[pattern] += 1
    assert wrong == []
    assert set(seen) == set(GROUPS) and sum(seen.values()) == 1425


@pytest.mark.parametrize("pattern", GROUPS)
def test_inspect_says_it_in_words(kit: Path, pattern: str) -> None:
    path = next(path for path in sorted(kit.glob(pattern)) if path.suffix in SUFFIXES)
    outcome = earthprism("inspect", path)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"sensor    {GROUPS[pattern] or 'not recognised'}" in outcome.out
    assert done("inspect", path)["sensor"] == (GROUPS[pattern] or None)


def need_of(band: InputBand) -> BandNeed:
    """What a model would write to get exactly this band."""
    if band.band is None:
        return BandNeed(band.part.label or f"B{band.number}")
    known = band.band
    return BandNeed(known.name, known.center_nm, known.width_nm, known.polarisation)


def model_for(text: str, folder: Path) -> Path:
    """A model whose class k is the k-th of the first bands of an input; its window is smaller than most images."""
    spec = parse_input("raster", text)
    found = inspect(spec.paths, spec).bands
    bands = [band for band in found if band.band is not None][:3] or [band for band in found if band.part.label][:3]
    meaning = bands[0].radiometry if bands else None
    unit = meaning.unit if isinstance(meaning, Radiometry) and meaning.unit != "index" else "dn"
    needs = tuple(need_of(band) for band in bands) or (BandNeed("B1"),)
    slot = {"modality": "raster", "bands": needs, "unit": unit}
    return packages.identity_package(folder / "model", len(needs), 96, name="same", margin=8, slot=slot).root


@pytest.mark.parametrize("text", SEGMENTED, ids=[text.partition("::")[0] for text in SEGMENTED])
def test_segment(kit: Path, tmp_path: Path, text: str) -> None:
    model = model_for(f"{kit}/{text}", tmp_path)
    output = tmp_path / "out.tif"
    done("segment", "--raster", f"{kit}/{text}", "--model", model, "--output", output)
    spec = parse_input("raster", f"{kit}/{text}")
    found = inspect(spec.paths, spec)
    count = len(needs_of(model))
    bands = ([band for band in found.bands if band.band is not None] or list(found.bands))[:count]
    values, valid, grid = numbers(bands, spec.nodata)
    with rasterio.open(output) as dataset:
        assert (dataset.crs, dataset.shape, dataset.nodata) == (grid[0], grid[2], NODATA)
        assert np.allclose(dataset.transform, grid[1], rtol=0, atol=1e-9)
        classes = dataset.read(1)
    assert ((classes != NODATA) == valid).all()
    assert (classes[valid] == values.argmax(axis=0)[valid]).all()


def needs_of(model: Path) -> tuple[BandNeed, ...]:
    """The bands of a model's first input."""
    return load(model).inputs[0].bands


def numbers(bands: list[InputBand], nodata: float | None) -> tuple[np.ndarray, np.ndarray, tuple[object, ...]]:
    """Stored numbers (bands, H, W), where all bands have any, and their grid, by plain GDAL."""
    values, valid = [], []
    for band in bands:
        with rasterio.open(band.part.paths[0]) as dataset:
            number = dataset.read(band.part.index).astype(np.float64)
            valid.append((dataset.read_masks(band.part.index) > 0) & np.isfinite(number) & (number != nodata))
            values.append(number)
            grid = (dataset.crs, dataset.transform, dataset.shape)
    return np.stack(values), np.logical_and.reduce(valid), grid


def water_model(sensor: str) -> str:
    """The name of a built-in baseline; the test is skipped, visibly, where it is not there."""
    if not list(BUILT_IN.glob(f"water-baseline-{sensor}-*")):
        pytest.skip(f"no built-in model water-baseline-{sensor}")
    return f"water-baseline-{sensor}"


def read(path: Path) -> np.ndarray:
    """The first band (H, W)."""
    with rasterio.open(path) as dataset:
        return dataset.read(1)


def segment(folder: Path, *arguments: object, name: str = "out") -> np.ndarray:
    """Class raster (H, W) of a run."""
    output = folder / f"{name}.tif"
    done("segment", *arguments, "--output", output)
    return read(output)


# --- the built-in models on what they were made for


@pytest.mark.parametrize(
    "name",
    [
        "boadella_s2/S2_L2A_boadella_2020-06-21.tif",
        "s2_ships/images/ship_000_2022-08-12.tif::offset=0",
        "sen1floods11/s2/Spain_7370579_S2Hand.tif::offset=0",
        "sentinel2_amazon/sentinel2_amazon.tif::offset=-1000",
        "bigearthnet/s2/S2A_MSIL2A_20170613T101031_87_48",
        "worldcereal_sits/be_2019_b/s2/S2_L2A_20180804T105022.tif",
        "eurosat/ms/Forest/Forest_1.tif::offset=0",
    ],
)
def test_water_from_sentinel_2(kit: Path, tmp_path: Path, name: str) -> None:
    classes = segment(tmp_path, "--ms", kit / name, "--model", water_model("s2"))
    assert set(np.unique(classes)) <= {0, 1, NODATA}


def test_water_of_the_reservoir_is_found(kit: Path, tmp_path: Path) -> None:
    """A coarse look at sense, not at quality: the map and the drawn outline overlap."""
    folder = kit / "boadella_s2"
    scene = folder / "S2_L2A_boadella_2020-06-21.tif"
    water = segment(tmp_path, "--ms", scene, "--model", water_model("s2")) == 1
    truth = read(folder / "water_2020-06-21.tif") == 1
    assert (water & truth).sum() / (water | truth).sum() > 0.7


def test_water_that_came_or_went_is_found(kit: Path, tmp_path: Path) -> None:
    """Above the interval's lower end of the best rule (0.45, floors.csv); the change is 2.6 % of the scene."""
    folder, dates = kit / "boadella_s2", ("2020-06-21", "2020-09-14")
    before, after = (folder / f"S2_L2A_boadella_{date}.tif" for date in dates)
    inputs = ("--before", "--ms", before, "--after", "--ms", after)
    done("change", *inputs, "--model", water_model("s2"), "--output", tmp_path / "change.tif")
    found = read(tmp_path / "change.tif") != 0
    first, second = (read(folder / f"water_{date}.tif") for date in dates)
    truth = first != second
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.5


@pytest.mark.parametrize(
    "name",
    [
        "sen1floods11/s1/Sri-Lanka_534068_S1Hand.tif",
        "bigearthnet/s1/S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48",
        "openeo_cubes/s1_grd_antwerp_2023-04.nc::date=2023-04-03;unit=worldcereal;nodata=65535",
    ],
)
def test_water_from_sentinel_1(kit: Path, tmp_path: Path, name: str) -> None:
    classes = segment(tmp_path, "--sar", kit / name, "--model", water_model("s1"))
    assert set(np.unique(classes)) <= {0, 1, NODATA}


# --- the traps


def radar_model(folder: Path) -> Path:
    """VV and VH in decibel."""
    bands = tuple(BandNeed(name, polarisation=name) for name in ("VV", "VH"))
    slot = {"modality": "sar", "bands": bands, "unit": "db"}
    return packages.identity_package(folder / "radar", 2, 64, name="radar", slot=slot).root


RED, GREEN, BLUE = BandNeed("red", 650, 100), BandNeed("green", 550, 100), BandNeed("blue", 470, 100)
B04, B08, B8A = BandNeed("B04", 665, 31), BandNeed("B08", 833, 106), BandNeed("B8A", 865, 21)


def optical_model(folder: Path, *bands: BandNeed, modality: str = "ms", unit: str = "reflectance") -> Path:
    """Class k is the k-th band."""
    slot = {"modality": modality, "bands": bands, "unit": unit}
    return packages.identity_package(folder / "optical", len(bands), 64, name="optical", slot=slot).root


def test_a_chip_that_is_nan_everywhere_gives_nodata_everywhere(kit: Path, tmp_path: Path) -> None:
    scene = kit / "sen1floods11/s1/Paraguay_34417_S1Hand.tif"
    result = done("segment", "--sar", scene, "--model", radar_model(tmp_path), "--output", tmp_path / "out.tif")
    assert (read(tmp_path / "out.tif") == NODATA).all() and read(tmp_path / "out.tif").shape == (512, 512)
    assert any("no valid pixel" in warning for warning in result["warnings"])


def test_a_raster_of_nodata_gives_nodata_everywhere(kit: Path, tmp_path: Path) -> None:
    scene = f"{kit}/sen1floods11/label/Ghana_83483_LabelHand.tif::nodata=-1"
    model = packages.identity_package(tmp_path / "m", 1, 64, slot={"bands": (BandNeed("water"),)}).root
    assert (segment(tmp_path, "--ms", scene, "--model", model) == NODATA).all()


def test_the_offset_of_new_baselines_is_asked_for_and_matters(kit: Path, tmp_path: Path) -> None:
    scene = f"{kit}/sentinel2_amazon/sentinel2_amazon.tif"
    model = optical_model(tmp_path, B04, B08)
    arguments = ("--model", model, "--probabilities", tmp_path / "p.tif", "--output", tmp_path / "out.tif")
    for options in ("", "::date=2022-06-01"):
        sentence = refused("segment", "--ms", scene + options, *arguments)
        assert "baseline 04.00" in sentence and "::offset=-1000" in sentence
    red = {}
    for offset in (0, -1000):
        done("segment", "--ms", f"{scene}::offset={offset}", *arguments, "--overwrite")
        with rasterio.open(tmp_path / "p.tif") as dataset:
            red[offset] = dataset.read(1) * dataset.scales[0]
    # class scores of this model are reflectances: the offset is 0.1 of it
    assert np.abs(red[0] - red[-1000] - 0.1).max() < 0.01


def test_tiles_with_and_without_alpha_are_one_mosaic(kit: Path, tmp_path: Path) -> None:
    folder = kit / "hot_buildings/banepa/images"
    model = optical_model(tmp_path, RED, GREEN, BLUE, modality="hr", unit="dn")
    classes = segment(tmp_path, "--hr", folder, "--model", model)
    expected = np.full(classes.shape, NODATA, np.uint8)
    with rasterio.open(tmp_path / "out.tif") as mosaic:
        inverse, bounds = ~mosaic.transform, mosaic.bounds
    tiles = [path for path in sorted(folder.iterdir()) if path.suffix in (".jpg", ".png")]
    for path in tiles:
        with rasterio.open(path) as tile:
            assert bounds.left - 1 < tile.bounds.left and tile.bounds.right < bounds.right + 1
            col, row = (round(value) for value in inverse @ (tile.bounds.left, tile.bounds.top))
            colours, valid = tile.read((1, 2, 3)), tile.dataset_mask() > 0
        part = expected[row : row + 256, col : col + 256]
        part[valid] = colours.argmax(axis=0)[valid]
    assert len(tiles) == 32 and (classes == expected).all()


def test_degrees_and_pixels_that_are_not_square_are_kept(kit: Path, tmp_path: Path) -> None:
    scene = kit / "boadella_s2/S2_L2A_boadella_2020-06-21.tif"
    segment(tmp_path, "--ms", scene, "--model", water_model("s2"), "--polygons", tmp_path / "out.gpkg")
    with rasterio.open(tmp_path / "out.tif") as result, rasterio.open(scene) as source:
        assert result.crs.to_epsg() == 4326 and result.transform == source.transform
        assert abs(result.res[0] - result.res[1]) > 0.1 * result.res[0]


@pytest.mark.parametrize(
    "name", ["clouds_csmask/sentinel2.tif", "clouds_csmask/landsat5.tif", "eurosat/rgb/River/River_1.jpg"]
)
def test_rasters_without_a_place_are_refused(kit: Path, tmp_path: Path, name: str) -> None:
    arguments = ("--model", optical_model(tmp_path, B04, B08), "--output", tmp_path / "out.tif")
    sentence = refused("segment", "--ms", kit / name, *arguments)
    assert name in sentence and "coordinate reference system" in sentence and "gdal_edit" in sentence


@pytest.mark.parametrize("name", ["hh", "hv", "vh", "vv"])
def test_complex_radar_is_refused(kit: Path, tmp_path: Path, name: str) -> None:
    scene = kit / f"spacenet6_rotterdam/slc_{name}.tif"
    arguments = ("--model", radar_model(tmp_path), "--output", tmp_path / "out.tif")
    assert "complex" in refused("segment", "--sar", scene, *arguments)


def test_missing_bands_are_named(kit: Path, tmp_path: Path) -> None:
    scene = kit / "worldcereal_sits/be_2019_c/s2/S2_L2A_20181028T105138.tif"
    arguments = ("--model", water_model("s2"), "--output", tmp_path / "out.tif")
    sentence = refused("segment", "--ms", scene, *arguments)
    assert all(word in sentence for word in ("blue (B02, 492 nm)", "red (B04, 665 nm)", scene.name))


def test_jpeg_2000_on_the_sinusoidal_grid(kit: Path, tmp_path: Path) -> None:
    scene = kit / "modis_sinop/TERRA_MODIS_012010_NDVI_2013-09-14.jp2"
    slot = {"modality": "raster", "bands": (BandNeed("NDVI"),)}
    model = packages.threshold_package(tmp_path / "m", (5000,), 1, 64, slot=slot).root
    classes = segment(tmp_path, "--raster", scene, "--model", model)
    with rasterio.open(scene) as source, rasterio.open(tmp_path / "out.tif") as result:
        assert result.crs == source.crs and "sinusoidal" in result.crs.to_wkt().lower()
        assert result.transform == source.transform
        index = source.read(1)
    known = classes != NODATA
    assert known.mean() > 0.9 and (classes[known] == (index > 5000)[known]).all()


def test_a_cube_gives_the_date_that_was_chosen(kit: Path, tmp_path: Path) -> None:
    scene = f"{kit}/openeo_cubes/s2_l2a_antwerp_2022-11_2023-02.nc"
    model = optical_model(tmp_path, B04, B08)
    output = ("--model", model, "--output", tmp_path / "out.tif")
    sentence = refused("segment", "--ms", f"{scene}::offset=0", *output)
    assert "20 dates" in sentence and "::date=2022-11-01" in sentence
    assert "::date=2022-11-" in refused("segment", "--ms", f"{scene}::offset=0;date=2022-11-02", *output)
    dates = done("inspect", scene)["dates"]
    names = [f"NETCDF:{scene}:S2-L2A-{band}" for band in ("B04", "B08")]
    with rasterio.open(names[0]) as red, rasterio.open(names[1]) as infrared:
        for place in (0, 8, 19):
            options = f"::offset=0;nodata=65535;date={dates[place]}"
            classes = segment(tmp_path, "--ms", scene + options, "--model", model, name=f"date-{place}")
            expected = (infrared.read(place + 1) > red.read(place + 1)).astype(np.uint8)
            known = classes != NODATA
            assert (classes[known] == expected[known]).all() and known.mean() > 0.9
    # on the eighth date there is nothing but NaN
    assert (segment(tmp_path, "--ms", f"{scene}::offset=0;date={dates[7]}", "--model", model, name="e") == NODATA).all()


def test_the_order_of_bands_in_the_file_does_not_matter(kit: Path, tmp_path: Path) -> None:
    """The file with B8A between B08 and B09, and the same bands with B8A last, as EuroSAT has them."""
    scene = kit / "boadella_s2/S2_L2A_boadella_2020-06-21.tif"
    other = tmp_path / "S2_L2A_reordered_2020-06-21.tif"
    with rasterio.open(scene) as source:
        order = [index for index in source.indexes if source.descriptions[index - 1] != "B8A"]
        order = [*reversed(order), source.descriptions.index("B8A") + 1]
        with rasterio.open(other, "w", **source.profile) as target:
            target.write(source.read(order))
            target.descriptions = [source.descriptions[index - 1] for index in order]
            target.update_tags(**source.tags())
    model = optical_model(tmp_path, B8A, B04, B08)
    for name in (model, water_model("s2")):
        first, second = (
            segment(tmp_path, "--ms", path, "--model", name, name=f"{Path(name).stem}-{path.stem}")
            for path in (scene, other)
        )
        assert (first == second).all() and len(np.unique(first)) > 1


def pair_model(folder: Path, optical: InputSlot, factor: float) -> Path:
    """Class 1 where VV in decibel is above `factor` times the optical band less 20."""
    slope = Step("scale", factor=(factor,), offset=(-20.0,))
    return packages.two_sensor_package(folder / "pair", 64, inputs=(replace(optical, steps=(slope,)),)).root


OPTICAL = InputSlot("ms", "ms", (), (B04,), "reflectance", 64)


@pytest.mark.parametrize(
    ("optical", "radar", "slot", "factor"),
    [
        (
            "worldcereal_sits/be_2019_b/s2/S2_L2A_20180804T105022.tif",
            "worldcereal_sits/be_2019_b/s1/S1_GRD_ASC_20180802T173151.tif",
            OPTICAL,
            60.0,
        ),
        (
            "spacenet6_rotterdam/rgb_900m.tif",
            "spacenet6_rotterdam/sar_900m_db.tif",
            replace(OPTICAL, bands=(RED,), unit="dn"),
            0.1,
        ),
        (
            "bigearthnet/s2/S2A_MSIL2A_20170613T101031_87_48",
            "bigearthnet/s1/S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48",
            OPTICAL,
            60.0,
        ),
    ],
    ids=["10 m and 20 m", "a hundredth of a pixel apart", "folders on one grid"],
)
def test_two_sensors_on_different_grids(
    kit: Path, tmp_path: Path, optical: str, radar: str, slot: InputSlot, factor: float
) -> None:
    model = pair_model(tmp_path, slot, factor)
    inputs = ("--ms", kit / optical, "--sar", kit / radar)
    classes = segment(tmp_path, *inputs, "--model", model)
    spec = parse_input("ms", f"{kit}/{optical}")
    found = inspect(spec.paths, spec)
    red = next(band for band in found.bands if band.band is not None and band.band.common == "red")
    assert isinstance(red.radiometry, Radiometry)
    numbers_red, valid, (crs, transform, shape) = numbers([red], None)
    reflectance = (numbers_red[0] + red.radiometry.offset) * red.radiometry.scale
    with rasterio.open(tmp_path / "out.tif") as result:
        assert (result.crs, result.shape) == (crs, shape) and result.transform.almost_equals(transform, 1e-6)
    backscatter = _decibel_on_grid(kit / radar, crs, transform, shape)
    known = classes != NODATA
    assert (known <= valid).all() and known.mean() > 0.6
    expected = backscatter > factor * reflectance - 20
    inner = known & np.isfinite(backscatter)
    assert (classes[inner] == expected[inner]).mean() > 0.99
    assert 0.02 < expected[inner].mean() < 0.98  # both inputs decide


def test_scenes_of_different_places_are_not_combined(kit: Path, tmp_path: Path) -> None:
    """The squares at 1 m and the radar scene of Rotterdam are neighbours."""
    folder = kit / "spacenet6_rotterdam"
    inputs = ("--ms", f"{folder}/ms_1.tif::unit=reflectance;scale=0.0001", "--sar", folder / "sar_900m_db.tif")
    model = pair_model(tmp_path, replace(OPTICAL, bands=(RED,)), 60.0)
    sentence = refused("segment", *inputs, "--model", model, "--output", tmp_path / "out.tif")
    assert "do not overlap" in sentence and "sar_900m_db.tif" in sentence


def _decibel_on_grid(path: Path, crs: object, transform: object, shape: tuple[int, int]) -> np.ndarray:
    """VV in decibel on a grid, bilinear, by plain GDAL."""
    found = inspect(path)
    band = next(band for band in found.bands if band.band is not None and band.band.polarisation == "VV")
    assert isinstance(band.radiometry, Radiometry)
    result = np.full(shape, np.nan, np.float32)
    with rasterio.open(band.part.paths[0]) as source:
        stored = source.read(band.part.index).astype(np.float32)
        stored[(source.read_masks(band.part.index) == 0) | ~np.isfinite(stored)] = np.nan
        reproject(
            (stored + band.radiometry.offset) * band.radiometry.scale,
            result,
            src_transform=source.transform,
            src_crs=source.crs,
            src_nodata=np.nan,
            dst_transform=transform,
            dst_crs=crs,
            dst_nodata=np.nan,
            resampling=Resampling.bilinear,
        )
    return result


def test_the_last_band_of_eurosat_is_the_narrow_infrared(kit: Path, tmp_path: Path) -> None:
    scene = kit / "eurosat/ms/Forest/Forest_1.tif"
    classes = segment(tmp_path, "--ms", f"{scene}::offset=0", "--model", optical_model(tmp_path, B8A, B08))
    with rasterio.open(scene) as source:
        assert source.descriptions[-1] == "B8A"
        expected = source.read((13, 8)).argmax(axis=0)
    assert (classes == expected).all() and 0.01 < expected.mean() < 0.99


def test_the_nodata_border_of_landsat_stays_nodata(kit: Path, tmp_path: Path) -> None:
    scene = kit / "edge_cases/landsat7_rgb_nodata0.tif"
    classes = segment(tmp_path, "--hr", scene, "--model", optical_model(tmp_path, RED, BLUE, modality="hr", unit="dn"))
    with rasterio.open(scene) as source:
        border = source.dataset_mask() == 0
    assert 0.01 < border.mean() < 0.99
    assert ((classes == NODATA) >= border).all()


def test_clouds_are_cut_out_by_the_scene_classification(kit: Path, tmp_path: Path) -> None:
    """Scene classes of one date of a stack of 72, at 20 m under a scene of 10 m."""
    block = kit / "worldcereal_sits/be_2019_b"
    scene = block / "s2/S2_L2A_20181008T105023.tif"
    with rasterio.open(block / "s2_scl.tif") as stack:
        place = next(k for k, text in enumerate(stack.descriptions, start=1) if text and text.startswith("20181008"))
        mask = tmp_path / "scl.tif"
        with rasterio.open(mask, "w", **{**stack.profile, "count": 1}) as target:
            target.write(stack.read(place), 1)
        values = sorted(set(np.unique(stack.read(place)).tolist()))
    wanted = values[len(values) // 2]
    model = optical_model(tmp_path, B04, B08)
    classes = segment(tmp_path, "--ms", scene, "--model", model, "--mask", mask, "--mask-values", wanted)
    masked = np.repeat(np.repeat(read(mask) == wanted, 2, 0), 2, 1)[: classes.shape[0], : classes.shape[1]]
    assert masked.any() and (classes[masked] == NODATA).all()
    assert (classes[~masked] != NODATA).mean() > 0.9


def test_a_copy_of_the_kit_is_not_touched(kit: Path, tmp_path: Path) -> None:
    """No side file appears beside a source."""
    scene = shutil.copy(kit / "sen1floods11/s1/Ghana_53713_S1Hand.tif", tmp_path / "Ghana_53713_S1Hand.tif")
    model = radar_model(tmp_path)
    done("inspect", scene)
    output = tmp_path / "result"
    output.mkdir()
    segment(output, "--sar", scene, "--model", model)
    assert {path.name for path in tmp_path.iterdir()} == {Path(scene).name, "radar", "result"}
