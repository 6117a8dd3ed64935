"""Runs that were killed are taken up again, bit by bit the same; other runs are not."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from tests.end_to_end.command import earthprism, refused, snapshot
from tests.end_to_end.processes import (
    CHUNKS,
    Shared,
    Task,
    assert_same,
    ended,
    make_model,
    results,
    unfinished,
)

KILLS = 20


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return Shared.make(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def uncut(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], float]:
    """What a run without interruption gives, and how many seconds it takes."""
    task, started = shared.task(tmp_path_factory.mktemp("uncut")), time.monotonic()
    process = task.start()
    most = 0
    while process.poll() is None:
        most = max(most, len(task.chunks()))
        time.sleep(0.005)
    assert ended(process).code == 0
    assert most >= CHUNKS - 2  # the folder vanishes soon after the last chunk
    return results(task), time.monotonic() - started


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_any_moment_and_resumed_gives_the_same_bits(
    shared: Shared, uncut: tuple[dict[str, Any], float], tmp_path: Path
) -> None:
    """20 kills at random moments, from the first import to the last file; several may hit one run."""
    expected, seconds = uncut
    moments = random.Random(2024)
    kills, runs, task = 0, 1, shared.task(tmp_path / "1")
    while kills < KILLS:
        process = task.start("--resume")
        try:
            process.wait(moments.uniform(0.1, 0.8) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()  # SIGKILL, to this process only: what it started must end by itself
            process.communicate()
            kills += 1
            continue
        assert ended(process).code == 0
        assert_same(results(task), expected)
        shutil.rmtree(task.folder)
        runs += 1
        task = shared.task(tmp_path / str(runs))
    assert ended(task.start("--resume")).code == 0
    assert_same(results(task), expected)
    assert not task.parts.exists() and unfinished(task.folder) == []


@pytest.fixture(scope="module")
def interrupted(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """A run that was killed after a few chunks; no test changes it."""
    task = shared.task(tmp_path_factory.mktemp("interrupted"))
    process = task.start()
    task.wait_for_chunks(process, 5)
    process.kill()
    process.communicate()
    return task


def assert_refused(task: Task, *options: object, arguments: list[str] | None = None) -> str:
    """The reason; nothing was touched."""
    before = snapshot(task.folder)
    sentence = refused(*(arguments or task.arguments(*options)))
    assert snapshot(task.folder) == before
    return sentence


def test_an_unfinished_run_is_neither_overwritten_nor_continued_unasked(interrupted: Task) -> None:
    sentence = assert_refused(interrupted)
    assert str(interrupted.parts) in sentence and "--resume" in sentence and "--overwrite" in sentence


@pytest.mark.parametrize("change", ["touched", "edited", "cut"])
def test_a_changed_source_is_named(interrupted: Task, change: str) -> None:
    scene = interrupted.scene
    content, status = scene.read_bytes(), scene.stat()
    try:
        if change == "touched":
            os.utime(scene, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
            name = "mtime_ns"
        elif change == "edited":
            with rasterio.open(scene, "r+") as dataset:
                dataset.update_tags(NOTE="x")
            os.utime(scene, ns=(status.st_atime_ns, status.st_mtime_ns))
            name = "s"  # size or sha256
        else:
            with rasterio.open(scene, "r+") as dataset:
                dataset.write(np.full((2, 256, 256), 9, np.float32), window=((0, 256), (0, 256)))
            name = "size"
        sentence = assert_refused(interrupted, "--resume")
    finally:
        scene.write_bytes(content)
        os.utime(scene, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "inputs 1 rasters 1 files 1" in sentence and name in sentence


def test_another_source_is_named(interrupted: Task, tmp_path: Path) -> None:
    other = shutil.copy2(interrupted.scene, tmp_path / "other.tif")
    sentence = assert_refused(Task(Path(other), interrupted.model, interrupted.folder), "--resume")
    assert "inputs 1 rasters 1 files 1 name was" in sentence and "other.tif" in sentence


def test_another_model_of_the_same_name_is_named(interrupted: Task, tmp_path: Path) -> None:
    task = Task(interrupted.scene, make_model(tmp_path / "model", seed=2), interrupted.folder)
    assert "models 1 sha256 was" in assert_refused(task, "--resume")


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (("--overlap", "0.5"), "tiling stride was 48 and is now 32"),
        (("--batch", "3"), "compute batch was 8 and is now 3"),
        (("--extent", "500000,4560000,510000,4690000", "--extent-crs", "EPSG:32631"), "place area"),
        (("--crs", "EPSG:32632"), "place area"),
        (("--resolution", "20"), "place area"),
    ],
)
def test_a_changed_parameter_is_named(interrupted: Task, options: tuple[str, ...], difference: str) -> None:
    assert difference in assert_refused(interrupted, "--resume", *options)


def test_layers_that_were_not_asked_for_before_are_named(interrupted: Task) -> None:
    arguments = interrupted.arguments("--resume", extras=False)
    assert "layers was" in assert_refused(interrupted, arguments=arguments)


def test_a_mask_is_named(interrupted: Task, tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "mask.tif", 1)
    sentence = assert_refused(interrupted, "--resume", "--mask", mask)
    assert "place mask was null and is now" in sentence and '"values": []}' in sentence


def test_an_area_of_interest_is_named(interrupted: Task, tmp_path: Path) -> None:
    area = write_area(tmp_path / "area.geojson", 100)
    assert "place" in assert_refused(interrupted, "--resume", "--aoi", area)


def write_mask(path: Path, value: int) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", width=10, height=10, count=1, dtype="uint8", crs="EPSG:32631",
        transform=Affine(100, 0, 509_000, 0, -100, 4_669_000),
    ) as dataset:  # fmt: skip
        dataset.write(np.full((1, 10, 10), value, np.uint8))
    return path


def write_area(path: Path, notch: float) -> Path:
    """A polygon in the EPSG:32631 grid; another notch leaves its bounds as they are."""
    outline = [(505_000, 4_560_000), (515_000, 4_560_000), (515_000, 4_690_000), (505_000 + notch, 4_680_000)]
    shape = shapely.geometry.mapping(shapely.Polygon([*outline, (505_000, 4_690_000)]))
    crs = {"type": "name", "properties": {"name": "EPSG:32631"}}
    feature = {"type": "Feature", "properties": {}, "geometry": shape}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))
    return path


def test_a_mask_or_an_area_that_changed_since_is_named(shared: Shared, tmp_path: Path) -> None:
    task = shared.task(tmp_path / "run")
    mask, area = write_mask(tmp_path / "mask.tif", 1), write_area(tmp_path / "area.geojson", 100)
    options = ("--mask", mask, "--mask-values", "1", "--aoi", area)
    process = task.start(*options)
    task.wait_for_chunks(process, 1)
    process.kill()
    process.communicate()
    assert "place mask values" in assert_refused(task, "--resume", "--mask", mask, "--aoi", area)
    write_area(area, 200)
    assert "place polygons was" in assert_refused(task, "--resume", *options)
    write_area(area, 100)
    write_mask(mask, 2)
    assert "place mask files 1" in assert_refused(task, "--resume", *options)


def test_overwriting_starts_again_and_resuming_a_finished_run_is_no_work(
    shared: Shared, uncut: tuple[dict[str, Any], float], tmp_path: Path
) -> None:
    task = shared.task(tmp_path / "run")
    process = task.start()
    task.wait_for_chunks(process, 3)
    (name,) = [path.name for path in task.parts.iterdir() if path.is_dir()]
    process.kill()
    process.communicate()
    assert earthprism(*task.arguments("--overwrite", extras=False)).code == 0
    with rasterio.open(task.output) as dataset:
        np.testing.assert_array_equal(dataset.read(), uncut[0]["map.tif"])
    assert not task.parts.exists() and name not in json.loads((task.folder / "map.run.json").read_text())["run"]
    before = snapshot(task.folder)
    again = earthprism(*task.arguments("--resume", extras=False))
    assert again.code == 0 and "complete" in again.err and snapshot(task.folder) == before
    sentence = assert_refused(task, arguments=task.arguments(extras=False))
    assert "map.tif" in sentence and "exist already" in sentence


def test_of_two_processes_the_second_waits_and_then_finds_the_result(
    shared: Shared, uncut: tuple[dict[str, Any], float], tmp_path: Path
) -> None:
    task = shared.task(tmp_path / "run")
    first = task.start()
    task.wait_for_chunks(first, 1)
    second, third = task.start(), task.start("--resume")
    assert ended(first).code == 0
    refusal, nothing = ended(second), ended(third)
    # What would be refused in the end is refused at once, while the first still runs.
    assert refusal.code == 2 and "exists already" in refusal.message
    assert nothing.code == 0 and "the result is complete" in nothing.err
    assert str(first.pid) in nothing.err  # who held the processor
    assert_same(results(task), uncut[0])
