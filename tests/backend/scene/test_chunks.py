"""Finished chunks on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from backend.geo.grid import Window
from backend.geo.raster_xml import RasterProfile
from backend.protocol.errors import OutputError
from backend.scene.chunks import ChunkStore
from backend.scene.decide import NODATA
from backend.scene.plan import Chunk, Plan, make_plan
from tests.backend.scene.scenes import LAYERS, grid_of, read_layer, store_of

AREA = Window(5, 3, 60, 40)


@pytest.fixture
def plan() -> Plan:
    return make_plan(grid_of(80, 50), AREA, 16, 12, 40, 12)


def arrays_of(chunk: Chunk, *heads: str, channels: int = 2) -> dict[str, np.ndarray]:
    """Every pixel tells where it lies on the scene."""
    window = chunk.window
    rows, cols = np.mgrid[window.row : window.bottom, window.col : window.right]
    place = ((rows * 7 + cols) % 250).astype(np.uint8)
    layers = {"probabilities": np.stack([place] * channels), "confidence": place[None], "classes": place[None]}
    return {f"{head}/{name}": array for head in heads for name, array in layers.items()}


def test_a_new_store_has_everything_to_do_and_a_reopened_one_what_is_left(plan: Plan, tmp_path: Path) -> None:
    chunks = list(plan.chunks())
    store = store_of(tmp_path, plan, head=2)
    assert (list(store.todo), store.done) == (chunks, ())
    for chunk in chunks[:4]:
        store.write(chunk, arrays_of(chunk, "head"), ())
    reopened = store_of(tmp_path, plan, head=2)
    assert (list(reopened.done), list(reopened.todo)) == (chunks[:4], chunks[4:])
    assert (list(store.done), list(store.todo)) == (chunks[:4], chunks)


def test_the_vrt_shows_finished_chunks_and_nodata_elsewhere_on_the_areas_grid(plan: Plan, tmp_path: Path) -> None:
    store = store_of(tmp_path, plan, head=2)
    expected = np.full(plan.scene.shape, NODATA, np.uint8)
    for chunk in list(plan.chunks())[::2]:
        store.write(chunk, arrays_of(chunk, "head"), ())
        expected[chunk.window.slices()] = arrays_of(chunk, "head")["head/classes"][0]
    assert store.publish(force=True)
    for layer in LAYERS:
        found = read_layer(store, f"head/{layer}")
        np.testing.assert_array_equal(found if found.ndim == 2 else found[1], expected[AREA.slices()])
    with rasterio.open(store.vrt("head/classes")) as dataset:
        assert dataset.transform == plan.output_grid.transform and dataset.crs == plan.scene.crs


def test_what_viewers_do_to_their_list_does_not_reach_the_final_file(plan: Plan, tmp_path: Path) -> None:
    store = store_of(tmp_path, plan, head=2)
    chunks = list(plan.chunks())
    store.write(chunks[0], arrays_of(chunks[0], "head"), ())
    store.publish(force=True)
    old = store.vrt("head/classes").read_bytes()
    for chunk in chunks[1:]:
        store.write(chunk, arrays_of(chunk, "head"), ())
    store.publish(force=True)
    store.vrt("head/classes").write_bytes(old)  # as GDAL does when a viewer that has it open computes statistics
    with rasterio.open(store.whole("head/classes")) as dataset:
        assert (dataset.read(1) != NODATA).all()
        assert not any(key.startswith("STATISTICS") for key in dataset.tags(1))


def test_listing_chunks_twice_in_a_moment_is_skipped(plan: Plan, tmp_path: Path) -> None:
    store = store_of(tmp_path, plan, head=2)
    assert store.publish(force=True) and not store.publish() and store.publish(force=True)


def test_a_chunk_without_its_last_layer_is_not_finished(plan: Plan, tmp_path: Path) -> None:
    store = store_of(tmp_path, plan, head=2)
    chunk = next(plan.chunks())
    store.write(chunk, arrays_of(chunk, "head"), ())
    for layer in LAYERS[:-1]:
        assert list((tmp_path / "test" / "head" / layer).glob("*.tif"))
    for path in (tmp_path / "test" / "head" / "classes").glob("*.tif"):
        path.rename(path.with_suffix(".tif.part"))
    assert store_of(tmp_path, plan, head=2).todo[0] == chunk


def test_what_a_chunk_hands_over_reaches_its_right_neighbour_only(plan: Plan, tmp_path: Path) -> None:
    store = store_of(tmp_path, plan, a=2, b=2)
    left, right = (plan.chunk(swath, plan.bands[1]) for swath in plan.swaths[:2])
    below = plan.chunk(plan.swaths[1], plan.bands[2])
    sums = [np.random.default_rng(k).random((3, 12, 4), np.float32) for k in range(2)]
    store.write(left, arrays_of(left, "a", "b"), sums)
    for opened in (store, store_of(tmp_path, plan, a=2, b=2)):
        assert opened.carry_into(left, 2) == [None, None]
        assert opened.carry_into(below, 2) == [None, None]
        for found, handed in zip(opened.carry_into(right, 2), sums, strict=True):
            np.testing.assert_array_equal(found, handed)
    store.drop_carry_into(right, 2)
    store.drop_carry_into(right, 2)
    assert store.carry_into(right, 2) == [None, None]
    assert not list((tmp_path / "test" / "carry").iterdir())


def test_runs_of_other_names_share_nothing(plan: Plan, tmp_path: Path) -> None:
    store = store_of(tmp_path, plan, head=2)
    for chunk in plan.chunks():
        store.write(chunk, arrays_of(chunk, "head"), ())
    other = ChunkStore(tmp_path, "other", plan, {"classes": RasterProfile("uint8", 1, NODATA)})
    assert other.done == () and list(other.todo) == list(plan.chunks()) and store_of(tmp_path, plan, head=2).todo == ()


def test_a_folder_that_cannot_be_written_is_an_output_error(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "test").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        store_of(tmp_path, plan, head=2)


def test_a_chunk_whose_writing_fails_does_not_count(plan: Plan, tmp_path: Path) -> None:
    store = store_of(tmp_path, plan, head=2)
    chunk = next(plan.chunks())
    (tmp_path / "test" / "head" / "classes").rmdir()
    with pytest.raises(OutputError):
        store.write(chunk, arrays_of(chunk, "head"), [np.zeros((2, 3, 3), np.float32)])
    assert store.done == () and chunk in store_of(tmp_path, plan, head=2).todo
    assert not list(tmp_path.rglob("*.part"))
