"""Samples for pre-training from the data kit: no label, and no image that any protocol tests on.

Pictures are those of the fixed train splits. Of Boadella the training dates and the unlabelled ones are one series, in
tiles; its test date is left out. BigEarthNet's four pairs are nobody's test, nor are the images of `kit_series`.
Everything else in the kit that SkySense V2 could read is tested on in some fold and stays out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio

from backend.runtime.packing.skysense_v2 import REFLECTANCE_BANDS
from backend.train.data.kit import Split, read_splits
from backend.train.data.kit_series import kit_series
from backend.train.data.sample import Place, Sample, Series

PICTURES = ("naip_trees", "neon_trees", "hot_buildings", "rsvqa_hr", "rsvqa_lr", "eurosat")
DIGITAL_NUMBERS = 10_000.0  # per unit of reflectance
TILE, STRIDE = 96, 71  # pixels of Boadella's tiles
BIGEARTHNET_PX = 120


def kit_samples(kit: Path) -> Iterator[Sample]:
    """Every sample, pictures first.

    Raises:
        ParameterError: the folder is not the kit.
    """
    for part in PICTURES:
        for split in read_splits(kit, part, "fixed"):
            if split.split == "train":
                yield _picture(kit, part, split)
    yield from _boadella(kit)
    yield from _bigearthnet(kit)
    yield from kit_series(kit)


def _picture(kit: Path, part: str, split: Split) -> Sample:
    """A picture of red, green and blue."""
    path = kit / split.path
    with rasterio.open(path) as dataset:
        pixels = dataset.read([1, 2, 3])
        valid = dataset.dataset_mask() > 0
        place = _place(dataset)
    series = Series("aerial-rgb", ("red", "green", "blue"), pixels[None], valid[None], ("",))
    return Sample(_key(part, path.stem), place, {"hr": series}, labels={"group": split.group})


def _boadella(kit: Path) -> Iterator[Sample]:
    """Tiles of the reservoir through its training and unlabelled dates."""
    splits = [s for s in read_splits(kit, "boadella_s2", "other_date") if s.split in ("train", "unlabelled")]
    images, days = [], []
    for split in sorted(splits, key=lambda one: one.path):
        with rasterio.open(kit / split.path) as dataset:
            bands = [dataset.descriptions.index(name) + 1 for name in REFLECTANCE_BANDS]
            images.append(dataset.read(bands).astype("float32") / np.float32(DIGITAL_NUMBERS))
            days.append(dataset.tags()["acquisition_date"])
            transform, crs = dataset.transform, dataset.crs.to_string()
    stack = np.stack(images)
    for row in range(0, stack.shape[2] - TILE + 1, STRIDE):
        for col in range(0, stack.shape[3] - TILE + 1, STRIDE):
            pixels = stack[:, :, row : row + TILE, col : col + TILE]
            left, top = transform @ (col, row)
            right, bottom = transform @ (col + TILE, row + TILE)
            valid = np.isfinite(pixels).all(axis=1) & (pixels > 0).any(axis=1)
            series = Series("sentinel-2-l2a", REFLECTANCE_BANDS, pixels, valid, tuple(days))
            yield Sample(_key("boadella", f"{row}-{col}"), Place(crs, (left, bottom, right, top)), {"ms": series})


def _bigearthnet(kit: Path) -> Iterator[Sample]:
    """Pairs of Sentinel-2 and Sentinel-1 patches."""
    for folder in sorted((kit / "bigearthnet" / "s2").iterdir()):
        tile = "_".join(folder.name.split("_")[-2:])
        (radar,) = (kit / "bigearthnet" / "s1").glob(f"*_{tile}")
        optical = [_band(folder / f"{folder.name}_{name}.tif") for name in REFLECTANCE_BANDS]
        decibel = [_band(radar / f"{radar.name}_{name}.tif") for name in ("VV", "VH")]
        with rasterio.open(folder / f"{folder.name}_B02.tif") as dataset:
            place = _place(dataset)
        pixels = np.stack(optical)[None] / np.float32(DIGITAL_NUMBERS)
        whole = np.ones((1, BIGEARTHNET_PX, BIGEARTHNET_PX), bool)
        day = folder.name.split("_")[2]
        date = f"{day[:4]}-{day[4:6]}-{day[6:8]}"
        series = {
            "ms": Series("sentinel-2-l2a", REFLECTANCE_BANDS, pixels, whole, (date,)),
            "sar": Series("sentinel-1-grd", ("VV", "VH"), np.stack(decibel)[None], whole, (_radar_date(radar.name),)),
        }
        yield Sample(_key("bigearthnet", folder.name), place, series)


def _band(path: Path) -> np.ndarray:
    """A band of a patch at 10 m: pixels of 20 and 60 m are repeated."""
    with rasterio.open(path) as dataset:
        values = dataset.read(1).astype("float32")
    times = BIGEARTHNET_PX // values.shape[0]
    return np.asarray(values.repeat(times, axis=0).repeat(times, axis=1))


def _radar_date(name: str) -> str:
    """Of a name such as S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48."""
    day = next(part for part in name.split("_") if len(part) == 15 and part[8] == "T")
    return f"{day[:4]}-{day[4:6]}-{day[6:8]}"


def _place(dataset: rasterio.DatasetReader) -> Place:
    if dataset.crs is None:
        return Place("", (0.0, 0.0, float(dataset.width), float(dataset.height)))
    left, bottom, right, top = dataset.bounds
    return Place(dataset.crs.to_string(), (left, bottom, right, top))


def _key(part: str, name: str) -> str:
    return f"{part}-{name}".replace(".", "-")
