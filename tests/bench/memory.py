"""Peak resident memory of `segment`, over scene sizes: it must depend on neither width nor height.

Each scene is a sparse tiled BigTIFF (blocks that were never written read as 0) without nodata, so that every pixel is
computed, by a light network with ten classes. The memory is that of the whole process tree, sampled from outside:
proportional set size where the system tells it, so that pages which several processes share count once, resident set
size elsewhere.

    scripts/bench memory [--sizes 10000,50000] [--window 512] [--bands 1] [--interval 0.05] [--python PATH]

The engine runs under the benchmark's own interpreter, or under that of another environment: where torch is installed,
looking for a graphics processor imports it, which takes 200 MB more.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import rasterio
from affine import Affine

from tests.packages import conv_package

ROOT = Path(__file__).resolve().parents[2]
CLASSES = 10
GIB = 1 << 30
# What the project promises: bytes at the largest size, and growth from the smallest to the largest.
LIMIT_BYTES, LIMIT_GROWTH = 1.5 * GIB, 1.15


def make_scene(path: Path, size: int, bands: int) -> Path:
    """A raster without a single written block."""
    profile = {
        "driver": "GTiff",
        "count": bands,
        "width": size,
        "height": size,
        "dtype": "uint16",
        "crs": "EPSG:32631",
        "transform": Affine(10, 0, 300000, 0, -10, 4900000),
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "bigtiff": "YES",
        "sparse_ok": True,
    }
    with rasterio.open(path, "w", **profile):
        pass
    return path


def tree_bytes(process: psutil.Process) -> list[int]:
    """Memory of a process and of each of its descendants; empty when it has ended."""
    found = []
    try:
        for member in (process, *process.children(recursive=True)):
            found.append(_proportional(member.pid) or member.memory_info().rss)
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return found
    return found


def _proportional(pid: int) -> int:
    """Proportional set size in bytes; 0 where the system does not tell it."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def segment(
    scene: Path, model: Path, output: Path, bands: int, options: tuple[str, ...] = (), python: str = sys.executable
) -> list[str]:
    """The command that is measured."""
    names = "/".join(f"B{k + 1}" for k in range(bands))
    inputs = ["--ms", f"{scene}::bands={names}", "--model", str(model), "--output", str(output)]
    return [python, "-m", "backend", "segment", *inputs, "--overwrite", *options]


def peak(command: list[str], interval: float) -> dict[str, Any]:
    """Run a command to its end: seconds, peak memory of its process tree and of its main process, its most threads."""
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        watched = psutil.Process(process.pid)
        most, alone, threads = 0, 0, 0
        while process.poll() is None:
            sizes = tree_bytes(watched)
            most, alone = max(most, sum(sizes)), max([alone, *sizes[:1]])
            with contextlib.suppress(psutil.NoSuchProcess):
                threads = max(threads, watched.num_threads())
            time.sleep(interval)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    seconds = round(time.perf_counter() - started, 1)
    return {"seconds": seconds, "peak_bytes": most, "main_peak_bytes": alone, "threads": threads}


def measure(
    size: int, window: int, bands: int, interval: float, options: tuple[str, ...] = (), python: str = sys.executable
) -> dict[str, Any]:
    """One scene size, in a folder of its own that is removed."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        scene = make_scene(folder / "scene.tif", size, bands)
        package = conv_package(folder / "net", CLASSES, bands, window, width=2, margin=window // 16)
        found = peak(segment(scene, package.root, folder / "out.tif", bands, options, python), interval)
    finally:
        shutil.rmtree(folder)
    return {"size": size, **found, "peak_gib": round(found["peak_bytes"] / GIB, 3)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="10000,50000")
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--bands", type=int, default=1)
    parser.add_argument("--interval", type=float, default=0.05, help="seconds between samples")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environment to measure")
    options = parser.parse_args()
    sizes = sorted(int(size) for size in options.sizes.split(","))
    measured = options.window, options.bands, options.interval, (), options.python
    results = [measure(size, *measured) for size in sizes]
    growth = results[-1]["peak_bytes"] / results[0]["peak_bytes"]
    report = {
        "benchmark": "memory",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "classes": CLASSES,
        "window": options.window,
        "bands": options.bands,
        "results": results,
        "growth": round(growth, 3),
        "within_limits": results[-1]["peak_bytes"] < LIMIT_BYTES and growth < LIMIT_GROWTH,
    }
    json.dump(report, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
