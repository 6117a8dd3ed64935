"""Makes the pictures of the documentation from real runs.

    scripts/python docs/pictures.py [DATA [PICTURE …]]

DATA is the folder of the data kit (default: `../shared/data`); PICTURE is one of "water" and "embeddings".
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio

from backend import command_line
from backend.train.recipes import encoder_package

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
SCENE = "boadella_s2/S2_L2A_boadella_2020-09-14.tif"
GAP = 12
SIDE = 288
CROP_DATES = ("20190730T105703", "20190824T105657", "20191018T105656")
CROP_RADAR = ("20190704T173156", "20190821T173159")
WATER = np.array([31, 111, 180], np.float32)


def water(data: Path) -> None:
    """Scene in natural colours, probability of water, class map over the scene."""
    scene = data / SCENE
    with tempfile.TemporaryDirectory() as folder:
        classes, probabilities = Path(folder) / "water.tif", Path(folder) / "probability.tif"
        results = ["--output", str(classes), "--probabilities", str(probabilities)]
        code = command_line.main(["segment", "--ms", str(scene), "--model", "water-baseline-s2", *results])
        if code != 0:
            raise SystemExit(code)
        with rasterio.open(classes) as dataset:
            is_water = dataset.read(1) == 1
        with rasterio.open(probabilities) as dataset:
            probability = dataset.read(2).astype(np.float32) / 250.0
    with rasterio.open(scene) as dataset:
        names = list(dataset.descriptions)
        colours = dataset.read([names.index(band) + 1 for band in ("B04", "B03", "B02")]).astype(np.float32)
    natural = np.clip(colours / 1800.0, 0, 1) ** 0.7 * 255
    ramp = 255 + (WATER[:, None, None] - 255) * probability
    grey = natural.mean(axis=0, keepdims=True).repeat(3, axis=0) * 0.5 + 110
    overlay = np.where(is_water, WATER[:, None, None], grey)
    _save(IMAGES / "water.png", [natural, ramp, overlay])


def embeddings(data: Path) -> None:
    """First three principal components of both encoders on two mixed scenes, each beside the scene."""
    crops, harbour = data / "worldcereal_sits" / "be_2019_b", data / "spacenet6_rotterdam"
    series = [str(crops / "s2" / f"S2_L2A_{date}.tif") for date in CROP_DATES]
    radar = [str(crops / "s1" / f"S1_GRD_ASC_{date}.tif") for date in CROP_RADAR]
    inputs = [
        *(part for path in series for part in ("--ms", path)),
        *(part for path in radar for part in ("--sar", path)),
        "--resolution",
        "5",
    ]
    mixed = ["--hr", str(harbour / "rgb_900m.tif"), "--sar", str(harbour / "sar_900m_db.tif"), "--grid", "model"]
    with tempfile.TemporaryDirectory() as folder:
        packages = [
            encoder_package.run(encoder_package.EncoderPackage(name, folder, graphs=""))["package"]
            for name in ("skysense-v2-tiny", "smarties-tiny")
        ]
        panels = []
        for picture, options in (
            (_natural(Path(series[1]), ("B04", "B03", "B02")), inputs),
            (_natural(harbour / "rgb_900m.tif"), mixed),
        ):
            found = [_components(_embedding(package, options, Path(folder) / "e.tif")) for package in packages]
            panels.append([_enlarged(panel) for panel in (picture, *found)])
    rows = [_row(row) for row in panels]
    gap = np.full((3, GAP, rows[0].shape[2]), 255.0)
    _save(IMAGES / "embeddings.png", [np.concatenate([rows[0], gap, rows[1]], axis=1)])


def _natural(path: Path, names: tuple[str, ...] = ()) -> np.ndarray:
    """A raster in natural colours, (3, H, W), stretched between its 2 % and 98 % percentiles."""
    with rasterio.open(path) as dataset:
        known = list(dataset.descriptions)
        bands = dataset.read([known.index(name) + 1 for name in names] if names else [1, 2, 3]).astype(np.float32)
    low, high = np.percentile(bands, (2, 98))
    return np.clip((bands - low) / (high - low), 0, 1) * 255


def _embedding(package: str, options: list[str], target: Path) -> np.ndarray:
    """The embedding (channels, H, W) that the command line writes."""
    code = command_line.main(["embed", *options, "--model", package, "--output", str(target), "--overwrite"])
    if code != 0:
        raise SystemExit(code)
    with rasterio.open(target) as dataset:
        return dataset.read()


def _components(embedding: np.ndarray) -> np.ndarray:
    """First three principal components as colours, (3, H, W)."""
    channels, height, width = embedding.shape
    values = embedding.reshape(channels, -1)
    valid = np.isfinite(values).all(axis=0)
    centred = values[:, valid] - values[:, valid].mean(axis=1, keepdims=True)
    parts = np.linalg.svd(centred, full_matrices=False)[0][:, :3].T @ centred
    low, high = np.percentile(parts, (2, 98), axis=1, keepdims=True)
    picture = np.full((3, height * width), 255.0)
    picture[:, valid] = np.clip((parts - low) / (high - low), 0, 1) * 255
    return picture.reshape(3, height, width)


def _enlarged(picture: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Nearest pixels, (3, side, side)."""
    rows, columns = (np.arange(side) * length // side for length in picture.shape[1:])
    return picture[:, rows[:, None], columns]


def _row(panels: list[np.ndarray]) -> np.ndarray:
    """Panels side by side with gaps."""
    gap = np.full((3, panels[0].shape[1], GAP), 255.0)
    return np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=2)


def _save(path: Path, panels: list[np.ndarray]) -> None:
    """Panels (3, H, W) side by side on white."""
    picture = _row(panels).clip(0, 255).astype(np.uint8)
    height = picture.shape[1]
    path.parent.mkdir(exist_ok=True)
    with rasterio.open(
        path, "w", driver="PNG", count=3, height=height, width=picture.shape[2], dtype="uint8"
    ) as dataset:
        dataset.write(picture)
    path.with_name(path.name + ".aux.xml").unlink(missing_ok=True)


if __name__ == "__main__":
    kit = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data"
    for wanted in sys.argv[2:] or ("water", "embeddings"):
        {"water": water, "embeddings": embeddings}[wanted](kit)
