"""Makes the pictures of the documentation from real runs.

    scripts/python docs/pictures.py [DATA]

DATA is the folder of the data kit (default: `../shared/data`).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio

from backend import command_line

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
SCENE = "boadella_s2/S2_L2A_boadella_2020-09-14.tif"
GAP = 12
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


def _save(path: Path, panels: list[np.ndarray]) -> None:
    """Panels (3, H, W) side by side on white."""
    height = panels[0].shape[1]
    gap = np.full((3, height, GAP), 255.0)
    row = np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=2)
    picture = row.clip(0, 255).astype(np.uint8)
    path.parent.mkdir(exist_ok=True)
    with rasterio.open(
        path, "w", driver="PNG", count=3, height=height, width=picture.shape[2], dtype="uint8"
    ) as dataset:
        dataset.write(picture)
    path.with_name(path.name + ".aux.xml").unlink(missing_ok=True)


if __name__ == "__main__":
    water(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data")
