"""Data sets as they are downloaded, in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from backend.protocol.errors import InputError
from backend.train.data.readers import bigearthnet, eurosat, fmow, sentinel2
from tests.backend.sensors.builders import jpeg2000, safe
from tests.backend.sensors.builders import raster as grey

COARSE = ("B05", "B06", "B07", "B8A", "B11", "B12")


def product(folder: Path, date: str) -> Path:
    """A SAFE product with the bands that SkySense takes."""
    root = safe(folder, "05.09", date)
    day = date.replace("-", "")
    images = next(root.glob("GRANULE/*/IMG_DATA"))
    for metres, bands in ((10, ("B03", "B04")), (20, COARSE)):
        for band in bands:
            jpeg2000(images / f"R{metres}m" / f"T31UFS_{day}T105031_{band}_{metres}m.jp2", metres)
    return root


def test_products_of_a_tile_are_the_dates_of_a_scene(tmp_path: Path) -> None:
    for date in ("2023-08-12", "2023-06-02"):
        product(tmp_path, date)
    (sample,) = sentinel2.products(tmp_path)
    series = sample.series["ms"]
    assert sample.key == "T31UFS-0-0" and series.days == ("2023-06-02", "2023-08-12")
    assert series.pixels.shape == (2, 10, 64, 64)
    # The builder counts pixels from 0; the product states an offset of -1000 and a factor of 1 / 10 000.
    assert float(series.pixels[0, 0, 63, 63]) == pytest.approx((64 * 64 - 1 - 1000) / 10_000, abs=1e-6)
    with pytest.raises(InputError, match="no SAFE products"):
        list(sentinel2.products(next(tmp_path.glob("*.SAFE")) / "GRANULE"))


def patch(folder: Path, name: str, radar: bool, about: dict[str, object] | None = None) -> None:
    if radar:
        for band in ("VV", "VH"):
            grey(folder / name / f"{name}_{band}.tif", 1, "float32", size=12)
    else:
        for band in ("B02", "B03", "B04", "B08"):
            grey(folder / name / f"{name}_{band}.tif", 1, size=12)
        for band in COARSE:
            grey(folder / name / f"{name}_{band}.tif", 1, size=6, pixel=20.0)
    if about is not None:
        (folder / name / f"{name}_labels_metadata.json").write_text(json.dumps(about))


def test_bigearthnet_1_names_its_partners(tmp_path: Path) -> None:
    optical = ("S2A_MSIL2A_20170613T101031_87_48", "S2A_MSIL2A_20170617T113321_4_55")
    for name in optical:
        patch(tmp_path / "BigEarthNet-v1.0", name, False, {"labels": ["Pastures", "Water bodies"]})
    about = {"labels": ["Pastures"], "corresponding_s2_patch": optical[1]}
    patch(tmp_path / "BigEarthNet-S1-v1.0", "S1A_IW_GRDH_1SDV_20170617T064724_29UPU_4_55", True, about)
    alone, pair = bigearthnet.patches(tmp_path)
    assert set(alone.series) == {"ms"} and set(pair.series) == {"ms", "sar"}
    assert pair.series["sar"].days == ("2017-06-17",) and pair.labels["labels"] == "Pastures|Water bodies"
    assert pair.series["ms"].pixels.shape == (1, 10, 12, 12)


def test_bigearthnet_2_pairs_the_same_place_nearest_in_time(tmp_path: Path) -> None:
    name = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"
    patch(tmp_path / "BigEarthNet-S2" / name.rsplit("_", 2)[0], name, False)
    for day, place in (("20170610", "33UUP_26_57"), ("20170614", "33UUP_26_57"), ("20170613", "33UUP_26_58")):
        radar = f"S1A_IW_GRDH_1SDV_{day}T165043_{place}"
        patch(tmp_path / "BigEarthNet-S1" / "scene", radar, True)
    (sample,) = bigearthnet.patches(tmp_path)
    assert sample.series["sar"].days == ("2017-06-14",) and sample.labels == {}
    assert float(sample.series["ms"].pixels[0, 0, -1, -1]) == pytest.approx((12 * 12 - 1) / 10_000)
    with pytest.raises(InputError, match="no BigEarthNet"):
        list(bigearthnet.patches(tmp_path / "BigEarthNet-S1"))


def picture(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="JPEG", width=values.shape[2], height=values.shape[1], count=3, dtype="uint8", quality=100
    ) as to:
        to.write(values)


def test_eurosat_in_colours_and_in_thirteen_bands(tmp_path: Path) -> None:
    picture(tmp_path / "rgb" / "Forest" / "Forest_7.jpg", np.full((3, 16, 16), 90, "uint8"))
    grey(tmp_path / "ms" / "River" / "River_3.tif", 13, size=16)
    (forest,) = eurosat.patches(tmp_path / "rgb")
    assert (forest.key, forest.labels["class"], forest.series["hr"].pixels.dtype) == (
        "eurosat-jpg-Forest_7", "Forest", np.uint8,
    )  # fmt: skip
    (river,) = eurosat.patches(tmp_path / "ms")
    first = (river.series["ms"].pixels[0, :, 0, 0] * 10_000).round() / 256
    # Where each of the ten bands stands among the thirteen: B8A is the last one.
    assert first.tolist() == [1, 2, 3, 4, 5, 6, 7, 12, 10, 11]
    with pytest.raises(InputError, match="no EuroSAT"):
        list(eurosat.patches(tmp_path))


def test_images_of_an_fmow_object_are_laid_upon_each_other_by_its_box(tmp_path: Path) -> None:
    ramp = np.linspace(20, 220, 200)
    ground = np.stack([np.tile(ramp, (200, 1)), np.tile(ramp[:, None], (1, 200)), np.full((200, 200), 128)])
    folder = tmp_path / "train" / "airport" / "airport_5"
    outline = "POLYGON ((10.0 50.0, 10.2 50.0, 10.2 50.1, 10.0 50.1, 10.0 50.0))"
    for number, (left, top, day) in enumerate(((0, 10, "2015-03-01"), (20, 0, "2013-04-02"))):
        picture(folder / f"airport_5_{number}_rgb.jpg", ground[:, top:180, left:170].round().astype("uint8"))
        box = {"box": [80 - left, 70 - top, 40, 50], "category": "airport", "raw_location": outline}
        about = {"timestamp": f"{day}T10:00:00Z", "bounding_boxes": [box]}
        (folder / f"airport_5_{number}_rgb.json").write_text(json.dumps(about))
    (sample,) = fmow.places(tmp_path)
    series = sample.series["hr"]
    assert series.days == ("2013-04-02", "2015-03-01") and sample.labels == {"class": "airport"}
    first, second = series.pixels.astype(int)
    assert np.abs(first - second).mean() < 2 and np.abs(np.roll(first, 8, axis=-1) - second).mean() > 4
    # The nearest border lies 85 px from the box's centre, 3.4 times half the box's height.
    assert sample.place.bounds == pytest.approx((10.1 - 0.34, 50.05 - 0.17, 10.1 + 0.34, 50.05 + 0.17))


def test_an_fmow_image_without_its_description_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "airport" / "airport_1" / "airport_1_0_rgb.jpg", np.zeros((3, 8, 8), "uint8"))
    with pytest.raises(InputError, match="cannot be used"):
        list(fmow.places(tmp_path))
    with pytest.raises(InputError, match="no fMoW"):
        list(fmow.places(tmp_path / "airport" / "nothing"))
