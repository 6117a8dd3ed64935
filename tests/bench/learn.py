"""Learning from few labels: a linear probe on the built-in encoder against a random forest on the bands of the pixel.

Labelled discs are drawn at random in the truth, 5, 10 and 20 of each class, five draws each; every method gets the same
ones. Scored is every other pixel of the scene, so training and test are neighbours: the numbers compare methods and say
nothing of other places. Then the time that learning and mapping a view of 1024 x 1024 pixels take once the embedding
is there.

    scripts/bench learn [--data ../shared/data] [--model skysense-v2-tiny]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.warp import Resampling, reproject
from sklearn.ensemble import RandomForestClassifier

from backend.protocol.jobs import EmbedJob, InputSpec
from backend.tasks.context import Context
from backend.tasks.probe import fit_logistic
from backend.tasks.scene import run

ROOT = Path(__file__).resolve().parents[2]
EACH, DRAWS, RADIUS, PURE = (5, 10, 20), 5, 3, 0.8  # discs of each class; draws; pixels; share of one class in a disc
TREES, MOST_PER_LABEL, STRENGTH = 200, 64, 0.1
VIEW, ROUNDS = 1024, 20
CROPS = (1110, 1200, 1510, 8100, 9120)  # of WorldCereal, those with more than one field


@dataclass(frozen=True)
class Case:
    """A scene with its truth.

    Attributes:
        name: for the report.
        scene: Sentinel-2 raster of ten bands or more.
        truth: class raster on the same grid.
        values: of the classes in it.
    """

    name: str
    scene: Path
    truth: Path
    values: tuple[int, ...]


def cases(data: Path, scratch: Path) -> list[Case]:
    """A reservoir, fields, and the generated place."""
    place = scratch / "place"
    subprocess.run([sys.executable, str(ROOT / "scripts" / "sample_scene.py"), str(place)], check=True)
    found = [
        Case("generated place", place / "sentinel2_2019-05-16.tif", place / "truth_2019-05-16.tif", tuple(range(8)))
    ]
    water, crops = data / "boadella_s2", data / "worldcereal_sits" / "be_2019_b"
    if water.is_dir():
        scene = water / "S2_L2A_boadella_2020-06-21.tif"
        found.append(Case("water, Boadella", scene, water / "water_2020-06-21.tif", (0, 1)))
    if crops.is_dir():
        scene = crops / "s2" / "S2_L2A_20190511T105704.tif"
        found.append(Case("crops, WorldCereal", scene, crops / "labels_ct.tif", CROPS))
    return found


def embedded(scene: Path, model: str, scratch: Path) -> tuple[np.ndarray, float]:
    """The joined map on the pixels of the scene, channels x H x W, and the seconds that it took."""
    output = scratch / f"{scene.stem}-embedding.tif"
    start = time.perf_counter()
    run(EmbedJob((InputSpec("ms", (str(scene),)),), (model,), str(output)), Context())
    seconds = time.perf_counter() - start
    with rasterio.open(scene) as grid, rasterio.open(output) as source:
        found = np.zeros((source.count, grid.height, grid.width), np.float32)
        reproject(
            source.read(), found, src_transform=source.transform, src_crs=source.crs, dst_transform=grid.transform,
            dst_crs=grid.crs, resampling=Resampling.bilinear, src_nodata=np.nan, dst_nodata=np.nan,
        )  # fmt: skip
    # Half a position along the border has no neighbour to interpolate with.
    return np.nan_to_num(found), seconds


def drawn(truth: np.ndarray, each: int, random: np.random.Generator) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Class, rows and columns of discs, `each` of every class where it has room."""
    rows, cols = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
    disc = np.argwhere(rows**2 + cols**2 <= RADIUS**2) - RADIUS
    found = []
    for value in range(int(truth.max()) + 1):
        places = np.argwhere(truth[RADIUS:-RADIUS, RADIUS:-RADIUS] == value) + RADIUS
        left = each
        for row, col in random.permutation(places)[: 50 * each]:
            at = disc + np.array([row, col])
            own = truth[at[:, 0], at[:, 1]] == value
            if own.mean() >= PURE and left:
                found.append((value, at[own, 0], at[own, 1]))
                left -= 1
    return found


def scores(case: Case, embedding: np.ndarray) -> list[dict[str, Any]]:
    """Mean and range of the share of pixels that are right, and of the mean F1, per method and number of labels."""
    with rasterio.open(case.scene) as dataset:
        bands = dataset.read().astype(np.float32)
    with rasterio.open(case.truth) as dataset:
        raw = dataset.read(1)
    truth = np.full(raw.shape, -1)
    for number, value in enumerate(case.values):
        truth[raw == value] = number
    methods = {
        "random forest, bands": bands,
        "probe, embedding": embedding,
        "probe, bands": bands,
        "probe, embedding and bands": np.concatenate([embedding, bands]),
    }
    table = []
    for each in EACH:
        results: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
        for draw in range(DRAWS):
            random = np.random.default_rng(draw)
            labels = drawn(truth, each, random)
            test = truth >= 0
            for _, rows, cols in labels:
                test[rows, cols] = False
            for name, features in methods.items():
                results[name].append(_scored(name, features, truth, labels, test, len(case.values), draw))
        for name, found in results.items():
            accuracy, f1 = np.array(found).T
            table.append(
                {
                    "labels of each class": each,
                    "method": name,
                    "accuracy": round(float(accuracy.mean()), 3),
                    "accuracy range": [round(float(v), 3) for v in (accuracy.min(), accuracy.max())],
                    "mean F1": round(float(f1.mean()), 3),
                    "mean F1 range": [round(float(v), 3) for v in (f1.min(), f1.max())],
                }
            )
    return table


def _scored(
    name: str,
    features: np.ndarray,
    truth: np.ndarray,
    labels: Sequence[tuple[int, np.ndarray, np.ndarray]],
    test: np.ndarray,
    count: int,
    seed: int,
) -> tuple[float, float]:
    inputs = np.concatenate([features[:, rows[:MOST_PER_LABEL], cols[:MOST_PER_LABEL]].T for _, rows, cols in labels])
    classes = np.concatenate([np.full(min(len(rows), MOST_PER_LABEL), value) for value, rows, _ in labels])
    if name.startswith("random forest"):
        forest = RandomForestClassifier(TREES, class_weight="balanced", random_state=seed, n_jobs=2)
        found = forest.fit(inputs, classes).predict(features[:, test].T)
    else:
        probe = fit_logistic(inputs.astype(float), classes, count, STRENGTH)
        found = probe.probabilities(features[:, test].T.astype(float)).argmax(axis=1)
    wanted = truth[test]
    f1 = []
    for value in range(count):
        hits = float(((found == value) & (wanted == value)).sum())
        both = float((found == value).sum() + (wanted == value).sum())
        f1.append(2 * hits / both if both else np.nan)
    return float((found == wanted).mean()), float(np.nanmean(f1))


def repaint(channels: int, positions: int) -> dict[str, Any]:
    """Seconds to learn from 160 labels and map a view once its embedding is there."""
    random = np.random.default_rng(0)
    features = random.normal(size=(160 * 9, channels))
    classes = np.repeat(np.arange(8), 180)
    view = random.normal(size=(positions * positions, channels)).astype(np.float32)
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        probe = fit_logistic(features, classes, 8, STRENGTH)
        logits = probe.logits(view).reshape(positions, positions, 8).transpose(2, 0, 1).astype(np.float32)
        large = np.empty((8, VIEW, VIEW), np.float32)
        scale = rasterio.Affine.scale(VIEW / positions)
        reproject(
            logits, large, src_transform=scale, src_crs="EPSG:3857", dst_transform=rasterio.Affine.identity(),
            dst_crs="EPSG:3857", resampling=Resampling.bilinear,
        )  # fmt: skip
        large.argmax(axis=0)
        taken.append(time.perf_counter() - start)
    return {
        "median s": round(float(np.median(taken)), 3),
        "95th percentile s": round(float(np.quantile(taken, 0.95)), 3),
    }


def main() -> None:
    """Print the report as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--model", default="skysense-v2-tiny")
    options = parser.parse_args()
    report: dict[str, Any] = {"model": options.model, "cases": {}}
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(options.data, Path(folder)):
            embedding, seconds = embedded(case.scene, options.model, Path(folder))
            report["cases"][case.name] = {"seconds to embed": round(seconds, 1), "scores": scores(case, embedding)}
    report[f"learn and map {VIEW} x {VIEW} px"] = repaint(128, VIEW // 4)
    json.dump(report, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
