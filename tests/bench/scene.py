"""What the engine costs over the plainest way to run the same model over the same windows.

Baseline: read each window, normalise, run the same session with the same batch, write classes (the last window wins),
translate to a COG with overviews. Ours: blending, validity, chunks that can be shown and resumed, the same COG. Both
are timed from the open session to the final file, alternating, in one process; only the ratio means anything elsewhere.

    scripts/bench scene [--sizes 4096,12000] [--repeats 3] [--window 256]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from rasterio.windows import Window as RasterioWindow

from backend.geo.env import gdal_environment
from backend.geo.writer import overview_factors
from backend.manifest.package import Step
from backend.protocol.jobs import AreaSpec, ComputeSpec, InputSpec, SegmentJob
from backend.scene.plan import Axis
from backend.tasks.context import Context
from backend.tasks.scene import execute
from backend.tasks.setup import set_up
from backend.tasks.task import Setup
from tests.packages import conv_package

BANDS, CLASSES, OVERLAP = 4, 5, 0.15
COG = {
    "COMPRESS": "DEFLATE",
    "BLOCKSIZE": "512",
    "NUM_THREADS": "ALL_CPUS",
    "BIGTIFF": "IF_SAFER",
    "PREDICTOR": "NO",
    "OVERVIEWS": "IGNORE_EXISTING",
    "OVERVIEW_RESAMPLING": "MODE",
}


def make_scene(path: Path, size: int) -> None:
    """Four uint16 bands of smooth fields with noise, tiled, compressed as delivered imagery is."""
    rng = np.random.default_rng(0)
    profile = {
        "driver": "GTiff",
        "count": BANDS,
        "width": size,
        "height": size,
        "dtype": "uint16",
        "crs": "EPSG:32631",
        "transform": Affine(10, 0, 300000, 0, -10, 4900000),
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "zlevel": 1,
        "interleave": "pixel",
    }
    x = np.arange(size, dtype=np.float32)
    with rasterio.open(path, "w", **profile) as dataset:
        for row in range(0, size, 512):
            y = np.arange(row, min(size, row + 512), dtype=np.float32)[:, None]
            base = 1500 + 800 * np.sin(x / 97) * np.cos(y / 61)
            block = np.stack([base * (k + 1) / 2 + rng.integers(0, 64, base.shape) for k in range(BANDS)])
            dataset.write(block.clip(0).astype(np.uint16), window=RasterioWindow(0, row, size, len(y)))


def baseline(setup: Setup, scene: Path, output: Path) -> float:
    """Seconds of the plain way."""
    started = time.perf_counter()
    window, size = setup.plan.window, setup.plan.scene.width
    starts = Axis.lay(size, window, round(window * (1 - OVERLAP))).starts
    places = [(row, col) for row in starts for col in starts]
    batch_size = setup.model.choice.batch
    scratch = output.with_suffix(".scratch.tif")
    with rasterio.open(scene) as source:
        profile = {
            "driver": "GTiff",
            "count": 1,
            "width": size,
            "height": size,
            "dtype": "uint8",
            "crs": source.crs,
            "transform": source.transform,
            "nodata": 255,
            "tiled": True,
            "blockxsize": 512,
            "blockysize": 512,
        }
        with rasterio.open(scratch, "w", **profile) as target:
            target.write_colormap(1, {k: (40 * k, 80, 120, 255) for k in range(CLASSES)})
            for first in range(0, len(places), batch_size):
                part = places[first : first + batch_size]
                images = [source.read(window=RasterioWindow(col, row, window, window)) for row, col in part]
                batch = np.stack(images).astype(np.float32) * np.float32(1e-4)
                (scores,) = setup.model.run({"image": batch})
                classes = scores.argmax(axis=1).astype(np.uint8)
                for (row, col), block in zip(part, classes, strict=True):
                    target.write(block, 1, window=RasterioWindow(col, row, window, window))
    rasterio.shutil.copy(scratch, output, driver="COG", **COG)
    scratch.unlink()
    return time.perf_counter() - started


def ours(setup: Setup) -> float:
    """Seconds of the engine."""
    started = time.perf_counter()
    execute(setup, Context())
    return time.perf_counter() - started


def compare(size: int, repeats: int, window: int, folder: Path) -> dict[str, Any]:
    """Alternating times of both ways for one scene size."""
    scene, output = folder / f"scene-{size}.tif", folder / "ours.tif"
    make_scene(scene, size)
    package = conv_package(
        folder / f"net-{size}",
        CLASSES,
        BANDS,
        window,
        margin=0,
        slot={"steps": (Step("scale", factor=(1e-4,), offset=(0.0,)),)},
    )
    job = SegmentJob(
        (InputSpec("ms", (str(scene),), bands=tuple(f"B{k + 1}" for k in range(BANDS))),),
        (str(package.root),),
        str(output),
        overlap=OVERLAP,
        if_exists="overwrite",
        compute=ComputeSpec("cpu", "fp32", "onnxruntime"),
    )
    times: dict[str, list[float]] = {"baseline": [], "ours": []}
    with gdal_environment(), set_up(job) as setup:
        for _ in range(repeats):
            times["baseline"].append(baseline(setup, scene, folder / "baseline.tif"))
            times["ours"].append(ours(setup))
        batch = setup.model.choice.batch
    agreement = _agreement(folder / "baseline.tif", output)
    area = area_cost(job, scene, size, statistics.median(times["ours"]), folder)
    ratios = [b / a for a, b in zip(times["baseline"], times["ours"], strict=True)]
    scene.unlink()
    return {
        "size": size,
        "window": window,
        "batch": batch,
        "seconds": times,
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(r, 3) for r in ratios],
        "same_class": agreement,
        **area,
    }


def area_cost(job: SegmentJob, scene: Path, size: int, full: float, folder: Path) -> dict[str, Any]:
    """Share of the full time for an area of 2 % of the scene."""
    side = size * 10 * 0.02**0.5
    left, top = 300000 + size * 10 * 0.37, 4900000 - size * 10 * 0.41
    polygon = shapely.box(left, top - side, left + side, top)
    area = folder / "area.geojson"
    area.write_text(
        json.dumps(
            {
                "type": "FeatureCollection",
                "crs": {"type": "name", "properties": {"name": "EPSG:32631"}},
                "features": [{"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(polygon)}],
            }
        )
    )
    with gdal_environment(), set_up(replace(job, area=AreaSpec(aoi=str(area)))) as setup:
        seconds = statistics.median(ours(setup) for _ in range(5))
    return {"area_2_percent_seconds": round(seconds, 3), "area_2_percent_share": round(seconds / full, 3)}


def _agreement(first: Path, second: Path) -> float:
    """Share of pixels with the same class; both must be COGs with overviews."""
    with rasterio.open(first) as a, rasterio.open(second) as b:
        assert a.overviews(1) and b.overviews(1), (a.overviews(1), overview_factors(a.width, a.height, 512))
        return round(float((a.read(1) == b.read(1)).mean()), 4)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="4096,12000")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--window", type=int, default=256)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        results = [compare(int(size), options.repeats, options.window, folder) for size in options.sizes.split(",")]
    finally:
        shutil.rmtree(folder)
    json.dump({"benchmark": "scene", "results": results}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
