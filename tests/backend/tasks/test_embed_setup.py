"""How an embedding is cut: swaths and chunks shrink with fine inputs and with many numbers per position."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import rasterio
from affine import Affine

from backend.manifest.package import Package
from backend.protocol.errors import PackageError
from backend.protocol.jobs import ComputeSpec, EmbedJob, InputSpec, SegmentJob
from backend.runtime.model import blank_feeds
from backend.scene.memory import CHUNK_BYTES, MemoryModel
from backend.scene.plan import CHUNK_ROWS, SWATH_WIDTH
from backend.tasks.setup import check, set_up
from backend.tasks.task import Setup
from tests import packages
from tests.rasters import LEFT, TOP

WIDTH, HEIGHT = 8192, 256  # pixels of the fine raster


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return packages.staged_encoder(tmp_path_factory.mktemp("staged"))


def write(path: Path, width: int, height: int, bands: int, pixel: float) -> str:
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, width=width, height=height, dtype="uint8", crs="EPSG:32633",
        transform=Affine(pixel, 0, LEFT, 0, -pixel, TOP), sparse_ok=True,
    ) as dataset:  # fmt: skip
        for band in range(bands):
            dataset.set_band_description(band + 1, f"B{band + 1}")
    return str(path)


@pytest.fixture
def hr(tmp_path: Path) -> InputSpec:
    return InputSpec("hr", (write(tmp_path / "hr.tif", WIDTH, HEIGHT, 1, 1.0),))


@pytest.fixture
def ms(tmp_path: Path) -> InputSpec:
    return InputSpec("ms", (write(tmp_path / "ms.tif", WIDTH // 4, HEIGHT // 4, 2, 4.0),))


def job_of(encoder: Package, folder: Path, *inputs: InputSpec, memory: int = 2_000_000_000) -> EmbedJob:
    compute = ComputeSpec("cpu", memory=memory)
    return EmbedJob(inputs, (str(encoder.root),), str(folder / "e.tif"), compute=compute)


def widest(setup: Setup) -> int:
    return max(swath.reach - swath.origin for swath in setup.plan.swaths)


def test_a_swath_holds_as_many_pixels_of_its_finest_input(
    encoder: Package, tmp_path: Path, hr: InputSpec, ms: InputSpec
) -> None:
    """One position is 8 x 8 pixels of the fine input, 2 x 2 of the coarse one."""
    for inputs, pixels in (((hr,), 8), ((ms,), 2), ((hr, ms), 8)):
        with set_up(job_of(encoder, tmp_path, *inputs)) as setup:
            assert setup.place.scene.shape == (HEIGHT // 8, WIDTH // 8)
            assert widest(setup) * pixels <= SWATH_WIDTH < (widest(setup) + setup.plan.window) * pixels


def test_the_estimate_counts_pixels_of_the_inputs(
    encoder: Package, tmp_path: Path, hr: InputSpec, ms: InputSpec
) -> None:
    for inputs, pixels in (((hr,), 64), ((ms,), 2 * 4), ((hr, ms), 64 + 8)):
        with set_up(job_of(encoder, tmp_path, *inputs)) as setup:
            assert (setup.memory.bands, setup.memory.channels, setup.memory.result_bytes) == (pixels, 2, 8)


def test_little_memory_makes_narrow_swaths_and_the_warning_says_so(
    encoder: Package, tmp_path: Path, hr: InputSpec
) -> None:
    with set_up(job_of(encoder, tmp_path, hr)) as setup:
        wide, most = widest(setup), setup.memory.bytes_for(widest(setup))
    model = setup.memory
    narrow = model.swath_width(model.bytes_for(wide // 4), wide)
    assert narrow <= wide // 4 and model.bytes_for(narrow) < most


@pytest.mark.parametrize("channels", [2, 128, 1024])
def test_a_chunk_stays_small_however_many_numbers_a_position_has(channels: int) -> None:
    model = MemoryModel(64, channels, 16, 1, 0, 4 * channels)
    rows = model.chunk_rows(256)
    assert rows == CHUNK_ROWS or 4 * channels * 256 * (rows + 1) > CHUNK_BYTES
    assert 4 * channels * 256 * rows <= CHUNK_BYTES
    assert model.bytes_for(256) > replace(model, result_bytes=0).bytes_for(256)


def test_maps_keep_the_chunks_they_had() -> None:
    assert MemoryModel(10, 10, 256, 1, 0, 2 + 10).chunk_rows(SWATH_WIDTH) == CHUNK_ROWS


def test_sizes_that_are_no_multiple_of_each_other(tmp_path: Path) -> None:
    package = packages.identity_package(tmp_path / "model", window=48, slot={"size": 32})
    raster = InputSpec("ms", (write(tmp_path / "one.tif", 96, 96, 1, 10.0),))
    job = SegmentJob((raster,), (str(package.root),), str(tmp_path / "map.tif"))
    with pytest.raises(PackageError, match=r'32 pixels of its input "image" and the 48'):
        check(job)


def test_a_plan_counts_the_dates_that_are_given(encoder: Package) -> None:
    feeds = blank_feeds(encoder.inputs, 2, {"ms": 3})
    assert feeds["ms"].shape == (2, 3, 2, 8, 8) and feeds["hr"].shape == (2, 1, 32, 32)
    assert feeds["ms_days"].shape == feeds["ms_valid"].shape == (2, 3)
