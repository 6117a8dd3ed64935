"""Minimum mapping unit: the stated rule, the same for any block size."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from backend.geo import sieve as module
from backend.geo.grid import Grid
from backend.geo.regions import label_regions
from backend.geo.sieve import MAX_ROUNDS, pixels_of_area, sieve, sieve_array
from backend.geo.writer import Legend, LegendClass, RasterProfile
from backend.protocol.errors import Cancelled, OutputError, ParameterError, SourceError

NODATA = 255
PROFILE = RasterProfile(
    dtype="uint8",
    nodata=NODATA,
    descriptions=("class",),
    tags={"RUN": "7"},
    legend=Legend((LegendClass(0, "water", (0, 0, 255)), LegendClass(1, "forest", (0, 128, 0)))),
)
relaxed = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, classes: np.ndarray) -> Path:
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=classes.shape[0],
        width=classes.shape[1],
        count=1,
        dtype="uint8",
        crs="EPSG:32631",
        transform=Affine(10, 0, 4e5, 0, -10, 5e6),
        nodata=NODATA,
    ) as dataset:
        dataset.write(classes, 1)
    return path


def by_the_rule(classes: np.ndarray, min_pixels: int) -> np.ndarray:
    """The rule spelt out with plain loops."""
    regions = label_regions(classes, NODATA)
    final = dict(enumerate(regions.classes.tolist()))
    settled = {number for number, size in enumerate(regions.sizes) if size >= min_pixels}
    borders: Counter[tuple[int, int]] = Counter()
    height, width = classes.shape
    for row in range(height):
        for col in range(width):
            for near in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
                if 0 <= near[0] < height and 0 <= near[1] < width:
                    borders[int(regions.labels[row, col]), int(regions.labels[near])] += 1
    for _ in range(MAX_ROUNDS):
        shares: dict[int, Counter[int]] = {}
        for (region, neighbour), length in borders.items():
            if region >= 0 and region not in settled and neighbour in settled:
                shares.setdefault(region, Counter())[final[neighbour]] += length
        for region, counter in shares.items():
            final[region] = min(counter, key=lambda value, counter=counter: (-counter[value], value))
        settled |= set(shares)
    return np.array(
        [[NODATA if label < 0 else final[label] for label in line] for line in regions.labels.tolist()], np.uint8
    )


@st.composite
def maps(draw: st.DrawFn, largest: int) -> np.ndarray:
    """Patches of different sizes, with nodata."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    height, width = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    grain = draw(st.sampled_from([1, 2, 5]))
    coarse = generator.choice(
        [0, 1, 2, 3, NODATA], size=(height // grain + 1, width // grain + 1), p=[0.3, 0.3, 0.2, 0.1, 0.1]
    )
    classes = np.kron(coarse, np.ones((grain, grain)))[:height, :width]
    speckled = generator.random(classes.shape) < draw(st.sampled_from([0, 0.05, 0.4]))
    return np.where(speckled, generator.integers(0, 4, classes.shape), classes).astype(np.uint8)


@relaxed
@given(maps(16), st.integers(1, 30))
def test_rule(classes: np.ndarray, min_pixels: int) -> None:
    np.testing.assert_array_equal(sieve_array(classes, min_pixels, NODATA), by_the_rule(classes, min_pixels))


@relaxed
@given(maps(90), st.sampled_from([2, 7, 40]), st.sampled_from([16, 32]))
def test_result_does_not_depend_on_the_blocks(tmp_path: Path, classes: np.ndarray, min_pixels: int, block: int) -> None:
    source = write(tmp_path / "classes.tif", classes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_TILE", 16)
        patch.setattr(module, "_FIRST_HALO", 0)
        sieve(source, tmp_path / "sieved.tif", PROFILE, min_pixels, block=block)
    with rasterio.open(tmp_path / "sieved.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), sieve_array(classes, min_pixels, NODATA))


def test_chain_is_taken_over_from_its_ends() -> None:
    classes = np.array([[0] * 10 + [2, 3, 2] + [1] * 10], np.uint8)
    assert sieve_array(classes, 5, None).tolist() == [[0] * 11 + [0] + [1] * 11]


def test_what_touches_only_nodata_stays() -> None:
    classes = np.full((9, 9), NODATA, np.uint8)
    classes[4, 4] = 1
    classes[0, 0:2] = 0, 1
    np.testing.assert_array_equal(sieve_array(classes, 100, NODATA), classes)


def test_every_region_reaches_the_minimum() -> None:
    classes = np.random.default_rng(5).integers(0, 2, (200, 200)).astype(np.uint8)
    sizes = label_regions(sieve_array(classes, 20, None)).sizes
    assert sizes.min() >= 20


def test_file_carries_the_profile(tmp_path: Path) -> None:
    classes = np.random.default_rng(0).integers(0, 2, (700, 600)).astype(np.uint8)
    shares: list[float] = []
    sieve(write(tmp_path / "classes.tif", classes), tmp_path / "sieved.tif", PROFILE, 8, progress=shares.append)
    assert sorted(os.listdir(tmp_path)) == ["classes.tif", "sieved.tif"]
    assert shares[-1] == 1.0
    with rasterio.open(tmp_path / "sieved.tif") as dataset:
        assert (dataset.nodata, dataset.crs.to_epsg(), dataset.transform) == (
            NODATA,
            32631,
            Affine(10, 0, 4e5, 0, -10, 5e6),
        )
        assert dataset.colormap(1)[1] == (0, 128, 0, 255)
        assert (dataset.descriptions, dataset.tags()["RUN"], dataset.block_shapes) == (("class",), "7", [(512, 512)])


def test_smallest_area_in_pixels() -> None:
    utm = Grid(CRS.from_epsg(32631), Affine(10, 0, 4e5, 0, -10, 5e6), 100, 100)
    degrees = Grid(CRS.from_epsg(4326), Affine(1e-4, 0, 10, 0, -1e-4, 60), 100, 100)
    assert [pixels_of_area(area, utm) for area in (0, 100, 101, 5000)] == [1, 1, 2, 50]
    assert pixels_of_area(5000, degrees) == pytest.approx(5000 / (11.12 * 5.56), abs=1)
    with pytest.raises(ParameterError):
        pixels_of_area(-1, utm)


def test_errors_leave_nothing_behind(tmp_path: Path) -> None:
    source = write(tmp_path / "classes.tif", np.zeros((20, 20), np.uint8))
    with pytest.raises(SourceError):
        sieve(tmp_path / "none.tif", tmp_path / "sieved.tif", PROFILE, 8)
    with pytest.raises(OutputError):
        sieve(source, tmp_path / "none" / "sieved.tif", PROFILE, 8)
    with pytest.raises(Cancelled):
        sieve(source, tmp_path / "sieved.tif", PROFILE, 8, cancelled=lambda: True)
    assert os.listdir(tmp_path) == ["classes.tif"]


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file size are a POSIX matter")
@pytest.mark.parametrize("limit", [1_000, 60_000])
def test_full_disk(tmp_path: Path, limit: int) -> None:
    write(tmp_path / "classes.tif", np.random.default_rng(0).integers(0, 4, (600, 600)).astype(np.uint8))
    script = f"""
import resource, signal, sys
from backend.geo.sieve import sieve
from backend.geo.writer import RasterProfile
from backend.protocol.errors import OutputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    sieve("classes.tif", "sieved.tif", RasterProfile(dtype="uint8", nodata=255), 1)
except OutputError:
    sys.exit(7)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, check=False, capture_output=True
    )
    assert result.returncode == 7, result.stderr
    assert os.listdir(tmp_path) == ["classes.tif"]
