"""The engine as a whole, with files for sources and a function for a model: the invariants of the design."""

from __future__ import annotations

import math
import random
import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.geo.grid import Window
from backend.protocol.errors import Cancelled, OutputError, SourceError
from backend.scene.decide import NODATA, ClassRule
from backend.scene.pipeline import SceneRun, run_scene, windows_to_do, windows_touched
from backend.scene.plan import Plan, make_plan
from tests.backend.scene.scenes import (
    LAYERS,
    Pattern,
    Watch,
    blend,
    constant,
    context_bound,
    counting,
    crop,
    cut_again,
    feed_of,
    grid_of,
    head_of,
    identity,
    noise,
    noise_scene,
    plans,
    read_layer,
    reference,
    run,
    store_of,
    write_scene,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenes")


def keep_some(plan: Plan, seed: int, share: float) -> Pattern:
    return Pattern(np.random.default_rng(seed).random(plan.scene.shape) < share)


# --- blended floats, over any cut


@settings(max_examples=60, deadline=None)
@given(plans(70, 6), st.integers(1, 8))
def test_identity_gives_the_scene_back_and_every_pixel_is_written_once(folder: Path, plan: Plan, batch: int) -> None:
    result = blend(plan, [feed_of(noise_scene(folder, 2, *plan.scene.shape))], 2, batch=batch)
    assert (result.written == 1).all() and result.wanted.all()
    np.testing.assert_allclose(result.scores, crop(noise(2, *plan.scene.shape), plan.area), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(plans(70, 6), st.lists(st.floats(0, 1, width=32, allow_subnormal=False), min_size=2, max_size=4))
def test_constant_in_constant_out_at_every_pixel(folder: Path, plan: Plan, scores: list[float]) -> None:
    feed = feed_of(noise_scene(folder, 1, *plan.scene.shape))
    result = blend(plan, [feed], len(scores), constant(*scores))
    expected = np.broadcast_to(np.float32(scores)[:, None, None], result.scores.shape)
    np.testing.assert_allclose(result.scores, expected, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    plans(60, 6),
    st.integers(1, 8),
    st.integers(0, 2**32 - 1),
    st.floats(0, 1, allow_subnormal=False),
    st.randoms(use_true_random=False),
)
def test_blending_is_the_weighted_mean_of_all_windows_whatever_cut_batch_order_and_filter(
    folder: Path, plan: Plan, batch: int, seed: int, share: float, order: random.Random
) -> None:
    """Swath borders, chunk borders and borders of skipped windows are invisible."""
    pattern = keep_some(plan, seed, share)
    feed = feed_of(noise_scene(folder, 2, *plan.scene.shape))
    result = blend(plan, [feed], 2, context_bound, [pattern], batch, order)
    wanted = pattern.keep[plan.area.slices()]
    np.testing.assert_array_equal(result.wanted, wanted)
    expected = reference(noise(2, *plan.scene.shape), plan, context_bound)
    np.testing.assert_allclose(result.scores[:, wanted], expected[:, wanted], rtol=1e-5, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(plans(60, 6), st.integers(1, 100), st.integers(1, 100))
def test_an_area_gives_the_same_pixels_as_the_whole_scene_in_another_cut(
    folder: Path, plan: Plan, swath: int, rows: int
) -> None:
    feed = feed_of(noise_scene(folder, 2, *plan.scene.shape))
    part = blend(plan, [feed], 2, context_bound, batch=4)
    scene = blend(cut_again(plan, plan.scene.window, swath, rows), [feed], 2, context_bound, batch=3)
    np.testing.assert_allclose(part.scores, crop(scene.scores, plan.area), rtol=1e-5, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(plans(60, 6), st.data())
def test_a_run_interrupted_after_any_chunk_ends_in_the_same_bits(folder: Path, plan: Plan, data: st.DataObject) -> None:
    feed = feed_of(noise_scene(folder, 2, *plan.scene.shape))
    chunks = list(plan.chunks())
    stop = data.draw(st.integers(0, len(chunks)))
    result = blend(plan, [feed], 2, context_bound, todo=chunks[:stop])
    result = blend(plan, [feed], 2, context_bound, todo=chunks[stop:], earlier=result)
    assert (result.written == 1).all()
    np.testing.assert_array_equal(result.scores, blend(plan, [feed], 2, context_bound).scores)


# --- whole runs, down to files


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 90), (77, 1), (5, 9), (16, 16), (100, 131)])
def test_scenes_of_all_shapes_come_out_whole(tmp_path: Path, height: int, width: int) -> None:
    image, watch = noise(3, height, width), Watch()
    found = run(write_scene(tmp_path / "s.tif", image), tmp_path / "run", 3, watch=watch)
    np.testing.assert_array_equal(found["classes"], image.argmax(axis=0))
    np.testing.assert_allclose(found["confidence"] / 250, image.max(axis=0), atol=0.002 + 1e-6)
    np.testing.assert_allclose(found["probabilities"] / 250, image, atol=0.002 + 1e-6)
    written = np.zeros((height, width), int)
    for window in watch.chunks:
        written[window.slices()] += 1
    assert (written == 1).all() and watch.publications >= 1


@pytest.mark.parametrize(
    "area", [Window(40, 0, 1, 90), Window(0, 33, 120, 1), Window(17, 29, 1, 1), Window(30, 20, 61, 47)]
)
def test_the_result_of_an_area_is_a_crop_of_the_scenes(tmp_path: Path, folder: Path, area: Window) -> None:
    scene = noise_scene(folder, 3, 90, 120)
    everything = run(scene, tmp_path / "all", 3, scorer=context_bound)
    part = run(scene, tmp_path / "part", 3, area=area, scorer=context_bound)
    for layer in ("classes", "confidence"):
        expected = crop(everything[layer], area).astype(int)
        # A byte's edge may lie within the last bit of a sum.
        np.testing.assert_allclose(part[layer], expected, atol=layer == "confidence")


@pytest.mark.parametrize(
    ("swath", "chunk_rows", "batch"), [(16, 8, 1), (30, 24, 3), (64, 1000, 4), (1000, 12, 7), (1000, 1000, 64)]
)
def test_swaths_chunks_and_batches_leave_no_trace(
    tmp_path: Path, folder: Path, swath: int, chunk_rows: int, batch: int
) -> None:
    scene = noise_scene(folder, 3, 90, 120)
    expected = reference(noise(3, 90, 120), make_plan(grid_of(120, 90), Window(0, 0, 120, 90), 16, 12), context_bound)
    found = run(scene, tmp_path / "run", 3, swath=swath, chunk_rows=chunk_rows, batch=batch, scorer=context_bound)
    np.testing.assert_array_equal(found["classes"], expected.argmax(axis=0))
    np.testing.assert_allclose(found["probabilities"] / 250, expected.clip(0, 1), atol=0.002 + 1e-5)


def test_nodata_comes_out_exactly_where_input_is_invalid_or_filtered(tmp_path: Path) -> None:
    image = noise(2, 90, 120)
    image[0, 10:20, 30:50], image[1, 40:41, :], image[:, 60:, 100:] = np.nan, -1.0, -1.0
    keep = np.random.default_rng(2).random((90, 120)) < 0.9
    found = run(write_scene(tmp_path / "s.tif", image, -1.0), tmp_path / "run", 2, filters=[Pattern(keep)])
    wanted = np.isfinite(image).all(axis=0) & (image != -1).all(axis=0) & keep
    for layer in LAYERS:
        np.testing.assert_array_equal(found[layer] == NODATA, np.broadcast_to(~wanted, found[layer].shape))
    np.testing.assert_array_equal(found["classes"][wanted], np.nan_to_num(image).argmax(axis=0)[wanted])


def test_a_scene_without_a_valid_pixel_is_all_nodata_and_costs_no_call(tmp_path: Path) -> None:
    scorer, batches = counting(identity)
    scene = write_scene(tmp_path / "s.tif", np.full((2, 50, 60), np.nan, np.float32))
    assert (run(scene, tmp_path / "run", 2, scorer=scorer)["classes"] == NODATA).all()
    assert batches == []


def test_only_windows_that_see_wanted_pixels_are_computed(tmp_path: Path, folder: Path) -> None:
    scorer, batches = counting(identity)
    keep = np.zeros((90, 120), bool)
    keep[50, 70:75] = True
    found = run(noise_scene(folder, 2, 90, 120), tmp_path / "run", 2, filters=[Pattern(keep)], scorer=scorer, batch=1)
    plan = make_plan(grid_of(120, 90), Window(0, 0, 120, 90), 16, 12, 64, 24)
    assert len(batches) == len(plan.cols.covering(70, 75)) * len(plan.rows.covering(50, 51))
    assert windows_touched(plan, [Pattern(keep)]) == len(batches)
    np.testing.assert_array_equal(found["classes"] != NODATA, keep)


def test_batches_have_one_shape_and_are_full_across_strips_and_swaths(tmp_path: Path, folder: Path) -> None:
    scorer, batches = counting(identity)
    watch = Watch()
    run(noise_scene(folder, 2, 90, 120), tmp_path / "run", 2, scorer=scorer, batch=7, watch=watch)
    windows = len(make_plan(grid_of(120, 90), Window(0, 0, 120, 90), 16, 12).cols.starts) * 8
    assert set(batches) == {7} and len(batches) == math.ceil(windows / 7)
    assert watch.windows == windows


def test_several_heads_come_out_of_one_pass(tmp_path: Path, folder: Path) -> None:
    plan = make_plan(grid_of(70, 60), Window(0, 0, 70, 60), 16, 12, 40, 24)
    scorer, batches = counting(lambda feeds: [feeds["image"].copy(), feeds["image"][:, :1].copy()])
    store = store_of(tmp_path, plan, many=3, single=2)
    heads = head_of("many", 3), head_of("single", ClassRule((0, 5), 0.75))
    run_scene(SceneRun(plan, (feed_of(noise_scene(folder, 3, 60, 70)),), (), scorer, 4, heads), store, Watch())
    image = noise(3, 60, 70)
    assert len(batches) == math.ceil(plan.windows / 4)
    np.testing.assert_array_equal(read_layer(store, "many/classes"), image.argmax(axis=0))
    # A blended score may lie a last bit beside the threshold that the pixel's own value meets.
    clear = np.abs(image[0] - 0.75) > 1e-6
    np.testing.assert_array_equal(read_layer(store, "single/classes")[clear], np.where(image[0] >= 0.75, 5, 0)[clear])
    probabilities = read_layer(store, "single/probabilities") / 250
    np.testing.assert_allclose(probabilities, np.stack([1 - image[0], image[0]]), atol=0.002 + 1e-6)


# --- ends before the end

SMALL = make_plan(grid_of(90, 70), Window(0, 0, 90, 70), 16, 12, 40, 24)


def small_run(folder: Path, scene: Path, watch: Watch | None = None, **changes: object) -> dict[str, np.ndarray]:
    parts = {"scorer": context_bound, "batch_size": 4, "filters": (), **changes}
    store = store_of(folder, SMALL, head=2)
    run_scene(SceneRun(SMALL, (feed_of(scene),), heads=(head_of("head", 2),), **parts), store, watch or Watch())  # type: ignore[arg-type]
    return {layer: read_layer(store, f"head/{layer}") for layer in LAYERS}


def stage_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()} & {"read", "score"}


@pytest.mark.parametrize("after", [0, 1, 4, 7, len(list(SMALL.chunks())) - 1])
def test_a_cancelled_run_keeps_its_chunks_and_goes_on_to_the_same_pixels(
    tmp_path: Path, folder: Path, after: int
) -> None:
    scene = noise_scene(folder, 2, 70, 90)
    with pytest.raises(Cancelled):
        small_run(tmp_path / "cut", scene, Watch(fail_after=after))
    store = store_of(tmp_path / "cut", SMALL, head=2)
    assert len(store.done) >= after and not stage_threads()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut").rglob("*.tif")}
    assert windows_to_do(SMALL, store) <= SMALL.windows
    watch = Watch()
    resumed, uncut = small_run(tmp_path / "cut", scene, watch), small_run(tmp_path / "uncut", scene)
    for layer in LAYERS:
        np.testing.assert_array_equal(resumed[layer], uncut[layer])
    assert len(watch.chunks) == len(store.todo)
    assert all(path.stat().st_mtime_ns == changed for path, changed in kept.items())


def test_a_finished_run_has_nothing_left_to_compute(tmp_path: Path, folder: Path) -> None:
    scene = noise_scene(folder, 2, 70, 90)
    first = small_run(tmp_path, scene)
    scorer, batches = counting(context_bound)
    again = small_run(tmp_path, scene, scorer=scorer)
    np.testing.assert_array_equal(again["classes"], first["classes"])
    assert batches == []


@pytest.mark.parametrize("error", [SourceError("gone"), MemoryError(), ZeroDivisionError()])
def test_a_failing_model_ends_all_stages(tmp_path: Path, folder: Path, error: Exception) -> None:
    calls = 0

    def failing(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise error
        return context_bound(feeds)

    with pytest.raises(type(error)):
        small_run(tmp_path, noise_scene(folder, 2, 70, 90), scorer=failing)
    assert not stage_threads() and calls == 6


def test_a_source_that_shrinks_on_the_way_is_a_source_error_and_chunks_are_kept(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", noise(2, 70, 90))

    def cutting(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        if scene.stat().st_size > 1000 and list((tmp_path / "run").rglob("classes/*.tif")):
            with open(scene, "r+b") as file:
                file.truncate(1000)
        return context_bound(feeds)

    with pytest.raises(SourceError, match=r"scene\.tif"):
        small_run(tmp_path / "run", scene, scorer=cutting, batch_size=1)
    assert not stage_threads() and store_of(tmp_path / "run", SMALL, head=2).done


def test_a_folder_that_vanishes_on_the_way_is_an_output_error(tmp_path: Path, folder: Path) -> None:
    class Removing(Watch):
        def written(self, window: Window) -> None:
            super().written(window)
            for path in (tmp_path / "test" / "head" / "classes").iterdir():
                path.unlink()
            (tmp_path / "test" / "head" / "classes").rmdir()

    with pytest.raises(OutputError, match="classes"):
        small_run(tmp_path, noise_scene(folder, 2, 70, 90), Removing())
    assert not stage_threads()


def test_chunks_are_listed_for_viewers_before_the_run_ends(tmp_path: Path, folder: Path) -> None:
    """Whatever the VRT lists at any moment is readable and final."""
    shown: list[np.ndarray] = []

    class Viewer(Watch):
        def published(self) -> None:
            super().published()
            with rasterio.open(tmp_path / "head-classes.vrt") as dataset:
                shown.append(dataset.read(1))

    final = small_run(tmp_path, noise_scene(folder, 2, 70, 90), Viewer())["classes"]
    assert len(shown) >= 2 and (shown[0] == NODATA).any()
    for early in shown:
        np.testing.assert_array_equal(early[early != NODATA], final[early != NODATA])
