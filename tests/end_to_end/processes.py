"""Real `segment` processes over a scene of many chunks that takes a few seconds."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import rasterio
from affine import Affine
from rasterio.windows import Window

from tests.packages import conv_package

ROOT = Path(__file__).resolve().parents[2]
# Two swaths meet in the middle; with windows of 64 px and a stride of 48 px a chunk is 528 px high.
WIDTH, HEIGHT = 2080, 15_840
CHUNKS = 60
BANDS, CLASSES = 2, 3
RASTERS = ("map.tif", "confidence.tif", "probabilities.tif")


def write_river(path: Path) -> Path:
    """A winding strip of valid pixels that crosses the border of the two swaths again and again; nodata elsewhere."""
    profile = {
        "driver": "GTiff",
        "count": BANDS,
        "width": WIDTH,
        "height": HEIGHT,
        "dtype": "float32",
        "nodata": 0,
        "crs": "EPSG:32631",
        "transform": Affine(10, 0, 500_000, 0, -10, 4_700_000),
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
    }
    cols = np.arange(WIDTH)
    with rasterio.open(path, "w", **profile) as dataset:
        for top in range(0, HEIGHT, 256):
            rows = np.arange(top, min(top + 256, HEIGHT))[:, None]
            river = np.abs(cols - 1040 - 90 * np.sin(rows // 40 / 4)) < 40
            field = 0.6 + 0.4 * np.sin(cols / 37) * np.cos(rows / 53)
            bands = np.stack([np.where(river, field, 0), np.where(river, 1.5 - field, 0)]).astype(np.float32)
            dataset.write(bands, window=Window(0, top, WIDTH, len(rows)))
    return path


@dataclass(frozen=True)
class Task:
    """A run as a user would start it."""

    scene: Path
    model: Path
    folder: Path

    @property
    def output(self) -> Path:
        """The class raster."""
        return self.folder / "map.tif"

    @property
    def parts(self) -> Path:
        """The folder of finished chunks."""
        return self.folder / "map.tif.parts"

    def arguments(self, *options: object, extras: bool = True) -> list[str]:
        """What follows `python -m backend`."""
        names = "/".join(f"B{k + 1}" for k in range(BANDS))
        found = ["segment", "--ms", f"{self.scene}::bands={names};sensor=sentinel-2-l2a", "--model", self.model]
        found += ["--device", "cpu", "--output", self.output]
        if extras:
            for option, name in (("confidence", RASTERS[1]), ("probabilities", RASTERS[2]), ("polygons", "map.gpkg")):
                found += [f"--{option}", self.folder / name]
        return [str(part) for part in (*found, *options)]

    def start(self, *options: object, **popen: Any) -> subprocess.Popen[str]:
        """Start the process; its stdout and stderr are pipes."""
        command = [sys.executable, "-m", "backend", *self.arguments(*options)]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes, **popen)

    def run(self, *options: object, **popen: Any) -> Ended:
        """Start the process and wait for its end."""
        return ended(self.start(*options, **popen))

    def chunks(self) -> list[Path]:
        """Finished chunks: their last layer is there."""
        return sorted(self.parts.glob("*/classes/*.tif"))

    def wait_for_chunks(self, process: subprocess.Popen[str], count: int) -> None:
        """Return as soon as that many chunks are finished; the process must not have ended before."""
        while len(self.chunks()) < count:
            assert process.poll() is None, ended(process)
            time.sleep(0.005)

    def left_over(self) -> set[str]:
        """What lies in the folder, without the finished chunks."""
        return {path.name for path in self.folder.iterdir()} - {self.parts.name}


@dataclass(frozen=True)
class Shared:
    """A scene and a model for all tests of a module."""

    scene: Path
    model: Path

    @staticmethod
    def make(folder: Path) -> Shared:
        """Write both into a folder."""
        return Shared(write_river(folder / "scene.tif"), make_model(folder / "model"))

    def task(self, folder: Path) -> Task:
        """A run into a folder, which is made where it is missing."""
        folder.mkdir(exist_ok=True)
        return Task(self.scene, self.model, folder)


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The sentence about an error; progress goes before it."""
        return next((line for line in self.err.splitlines() if line.startswith("earthprism: ")), "")


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for a process."""
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    return Ended(process.returncode, out, err)


def results(task: Task) -> dict[str, Any]:
    """Every pixel, colour and polygon of a run."""
    found: dict[str, Any] = {}
    for name in RASTERS:
        with rasterio.open(task.folder / name) as dataset:
            found[name] = dataset.read()
            found[f"{name} overviews"] = dataset.overviews(1)
    _, _, shapes, fields = pyogrio.raw.read(task.folder / "map.gpkg")
    columns = [column.tolist() for column in fields]
    found["polygons"] = sorted(zip((bytes(shape) for shape in shapes), *columns, strict=True))
    return found


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Both runs gave the same in every bit."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found[name], value, err_msg=name)
        else:
            assert found[name] == value, name


def make_model(folder: Path, seed: int = 1) -> Path:
    """A light network; another seed gives other weights under the same name."""
    return conv_package(folder, CLASSES, BANDS, 64, width=4, margin=8, seed=seed).root


def unfinished(folder: Path) -> list[str]:
    """Names of unfinished files anywhere under a folder."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*.part*") if path.name != "map.tif.parts"]
