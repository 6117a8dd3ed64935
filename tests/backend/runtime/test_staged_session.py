"""Staged encoders: stages open when needed, the join sees every date, what lacks does not count."""

from __future__ import annotations

import gc
import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from backend.manifest.build import build
from backend.manifest.package import BandNeed, InputSlot, Package
from backend.protocol.errors import Cancelled, PackageError
from backend.runtime.assembly import Assembly
from backend.runtime.choice import Choice, default_batch, open_session
from backend.runtime.model import Wish, open_model
from backend.runtime.onnx_session import OnnxSession
from backend.runtime.staged_session import StagedSession, over_dates
from backend.runtime.verify import verify
from tests import packages

CHOICE = Choice("onnxruntime", "fp32", "cpu", 2)
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return packages.staged_encoder(tmp_path_factory.mktemp("staged"))


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def pooled(image: np.ndarray, side: int) -> np.ndarray:
    """Means of side x side pixels of (..., H, W)."""
    *lead, height, width = image.shape
    return image.reshape(*lead, height // side, side, width // side, side).mean(axis=(-3, -1))


def series(count: int, dates: int) -> Arrays:
    return {
        "ms": noise(count, dates, 2, 8, 8),
        "ms_days": np.tile(np.arange(1, dates + 1, dtype=np.float32), (count, 1)),
        "ms_valid": np.ones((count, dates, 4, 4), np.float32),
        "ms_bands": np.ones((count, 2), np.float32),
    }


def test_the_package_agrees_with_its_golden_data(encoder: Package) -> None:
    (check,) = verify(encoder)
    assert check.ok, check.sentence()


def test_join_over_inputs_and_dates(encoder: Package) -> None:
    feeds = {"hr": noise(3, 1, 32, 32, seed=1), **series(3, 3)}
    found = open_session(encoder, CHOICE).run(feeds)
    hr = np.concatenate([pooled(feeds["hr"], 8), np.zeros((3, 1, 4, 4), np.float32)], axis=1)
    ms = pooled(feeds["ms"], 2)
    np.testing.assert_allclose(found["hr_map"], hr, atol=1e-6)
    np.testing.assert_allclose(found["ms_map"], ms.mean(axis=1), atol=1e-6)
    fused = (hr + ms.sum(axis=1)) / 4
    np.testing.assert_allclose(found["fused"], fused, atol=1e-6)
    days = (0 + 1 + 2 + 3) / 4
    np.testing.assert_allclose(found["image"], fused.mean(axis=(2, 3)) + days, atol=1e-5)


def test_an_input_of_one_date_has_its_day_too(encoder: Package) -> None:
    dated = replace(encoder, inputs=(replace(encoder.slot("hr"), days_input="hr_days"), encoder.slot("ms")))
    feeds = {"hr": noise(1, 1, 32, 32)}
    images = [
        open_session(package, CHOICE).run({**feeds, "hr_days": np.array([[200]], np.float32)}, {"image": "identity"})
        for package in (encoder, dated)
    ]
    np.testing.assert_allclose(images[1]["image"] - images[0]["image"], 200, rtol=1e-6)


class SmallDevice(OnnxSession):
    """A session on a device whose memory takes two images at a time."""

    def run(self, feeds, wanted=None, on_device=False):  # type: ignore[no-untyped-def]
        if len(next(iter(feeds.values()))) > 2:
            raise MemoryError("two images are the most")
        return super().run(feeds, wanted, on_device)


def test_a_series_that_does_not_fit_the_memory_goes_through_in_smaller_calls(encoder: Package) -> None:
    feeds = series(2, 3)
    expected = open_session(encoder, CHOICE).run(feeds, {"fused": "identity"})["fused"]
    with open_model((encoder,), choice=replace(CHOICE, batch=4), wish=Wish(frozenset({"ms"}), ("fused",))) as model:
        graphs = {**encoder.variants[0].stages, "join": encoder.variants[0].file}
        small = StagedSession(
            encoder,
            lambda name: (OnnxSession if name == "join" else SmallDevice)(encoder.root / graphs[name], "fp32"),
            ("onnxruntime", "fp32", "cpu"),
            4,
        )
        model._base = model._stages = small
        (found,) = model.run(feeds)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert model.choice.batch == 2


def test_what_is_not_valid_does_not_count(encoder: Package) -> None:
    feeds = series(1, 2)
    feeds["ms_valid"][0, 1, :2] = 0
    fused = open_session(encoder, CHOICE).run(feeds, {"fused": "identity"})["fused"]
    ms = pooled(feeds["ms"], 2)
    np.testing.assert_allclose(fused[:, :, :2], ms[:, 0, :, :2], atol=1e-6)
    np.testing.assert_allclose(fused[:, :, 2:], ms.mean(axis=1)[:, :, 2:], atol=1e-6)


def test_validity_by_date_and_a_missing_band(encoder: Package) -> None:
    feeds = {**series(2, 2), "ms_valid": np.array([[1, 0], [0, 1]], np.float32)}
    feeds["ms_bands"] = np.array([[1, 0], [1, 1]], np.float32)
    fused = open_session(encoder, CHOICE).run(feeds, {"fused": "identity"})["fused"]
    ms = pooled(feeds["ms"], 2)
    np.testing.assert_allclose(fused[0, 0], ms[0, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(fused[0, 1], 0)
    np.testing.assert_allclose(fused[1], ms[1, 1], atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_batches_change_nothing(encoder: Package, batch: int) -> None:
    feeds = {"hr": noise(3, 1, 32, 32, seed=1), **series(3, 3)}
    one = open_session(encoder, CHOICE).run(feeds)
    other = open_session(encoder, Choice("onnxruntime", "fp32", "cpu", batch)).run(feeds)
    for name, values in one.items():
        np.testing.assert_array_equal(other[name], values)


def test_only_what_is_needed_is_opened(encoder: Package) -> None:
    opened: list[str] = []
    graphs = {"hr": "hr.onnx", "ms": "ms.onnx", "join": "join.onnx"}

    def open_stage(stage: str) -> OnnxSession:
        opened.append(stage)
        return OnnxSession(encoder.path(graphs[stage]), "fp32")

    session = StagedSession(encoder, open_stage, ("onnxruntime", "fp32", "cpu"), 4)
    hr = noise(1, 1, 32, 32)
    session.run({"hr": hr, **series(1, 1)}, {"hr_map": "identity"})
    assert opened == ["hr"]
    session.run({"hr": hr}, {"fused": "identity"})
    assert opened == ["hr", "join"]
    session.run({"hr": hr, **series(1, 1)}, {"fused": "identity", "ms_map": "identity"})
    assert opened == ["hr", "join", "ms"]


def test_interrupt(encoder: Package) -> None:
    session = open_session(encoder, CHOICE)
    session.run(series(1, 1))
    session.interrupt()
    with pytest.raises(Cancelled):
        session.run(series(1, 1))
    with pytest.raises(Cancelled):
        session.run({"hr": noise(1, 1, 32, 32)})


def test_nothing_given(encoder: Package) -> None:
    with pytest.raises(PackageError, match="no input"):
        open_session(encoder, CHOICE).run({})
    with pytest.raises(PackageError, match='"hr_map" is made of the input hr'):
        open_session(encoder, CHOICE).run(series(1, 1), {"hr_map": "identity"})


def test_a_stage_that_is_not_needed_may_be_missing(encoder: Package, tmp_path: Path) -> None:
    root = Path(shutil.copytree(encoder.root, tmp_path / "copy"))
    (root / "ms.onnx").unlink()
    session = open_session(replace(encoder, root=root), CHOICE)
    session.run({"hr": noise(1, 1, 32, 32)})
    with pytest.raises(PackageError, match=r"ms\.onnx"):
        session.run(series(1, 1))


def test_a_closed_session_holds_nothing(encoder: Package) -> None:
    opened: list[weakref.ref[OnnxSession]] = []

    def open_stage(stage: str) -> OnnxSession:
        found = OnnxSession(encoder.path("hr.onnx"), "fp32")
        opened.append(weakref.ref(found))
        return found

    holder = weakref.ref(open_stage)
    session = StagedSession(encoder, open_stage, ("onnxruntime", "fp32", "cpu"), 4)
    del open_stage
    session.run({"hr": noise(1, 1, 32, 32)}, {"hr_map": "identity"})
    session.close()
    gc.collect()
    assert holder() is None and opened[0]() is None


def test_dates_without_data_do_not_count_for_a_single_input(encoder: Package) -> None:
    feeds = series(2, 3)
    feeds["ms_valid"][0, 0, :2] = 0
    feeds["ms_valid"][1] = 0  # no date has data: what comes out is not looked at, but finite
    found = open_session(encoder, CHOICE).run(feeds, {"ms_map": "identity"})["ms_map"]
    ms = pooled(feeds["ms"], 2)
    np.testing.assert_allclose(found[0, :, :2], ms[0, 1:, :, :2].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found[0, :, 2:], ms[0, :, :, 2:].mean(axis=0), atol=1e-6)
    assert np.isfinite(found[1]).all()


@pytest.mark.parametrize("tensors", [False, True])
def test_means_over_dates(tensors: bool) -> None:
    """Maps finer and coarser than the validity take the nearest of its positions; vectors its share of each date."""
    valid = np.ones((1, 2, 4, 4), np.float32)
    valid[0, 0, :2] = 0
    for side in (8, 4, 2):
        maps = noise(1, 2, 3, side, side)
        found = over_dates(torch.from_numpy(maps) if tensors else maps, valid)
        half = side // 2
        np.testing.assert_allclose(found[:, :, :half], maps[:, 1, :, :half], atol=1e-6)
        np.testing.assert_allclose(found[:, :, half:], maps.mean(axis=1)[:, :, half:], atol=1e-6)
        by_date = over_dates(torch.from_numpy(maps) if tensors else maps, np.array([[1, 0]], np.float32))
        np.testing.assert_allclose(by_date, maps[:, 0], atol=1e-6)
    vectors = noise(1, 2, 3)
    found = over_dates(torch.from_numpy(vectors) if tensors else vectors, valid)
    np.testing.assert_allclose(found, (vectors[:, 0] / 3 + vectors[:, 1] * 2 / 3), atol=1e-6)


def test_int8_takes_every_image_alone(encoder: Package, tmp_path: Path) -> None:
    """The scale of dynamic quantisation is one per call: other windows and dates must not change it."""
    graph = tmp_path / "hr.onnx"
    graph.write_bytes(quantising(encoder))
    feeds = {"hr": noise(3, 1, 32, 32) * np.float32([1, 10, 100])[:, None, None, None]}

    def session(batch: int) -> StagedSession:
        return StagedSession(encoder, lambda stage: OnnxSession(graph, "int8"), ("onnxruntime", "int8", "cpu"), batch)

    together = session(8).run(feeds, {"hr_map": "identity"})["hr_map"]
    alone = [session(1).run({"hr": feeds["hr"][i : i + 1]}, {"hr_map": "identity"})["hr_map"] for i in range(3)]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    spoiled = packages.run_graph(str(graph), feeds)["hr_map"]
    assert not np.array_equal(spoiled[0], together[0])


def quantising(encoder: Package) -> bytes:
    """The first stage, with its input rounded to 255 steps over the call's own range."""
    model = onnx.load(encoder.path("hr.onnx"))
    model.graph.node[0].input[0] = "rounded"
    model.graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", ["steps", "scale", "zero_point"], ["rounded"]))
    model.graph.node.insert(0, onnx.helper.make_node("DynamicQuantizeLinear", ["hr"], ["steps", "scale", "zero_point"]))
    return bytes(model.SerializeToString())


def test_int8_runs_one_window_per_call(encoder: Package) -> None:
    assert default_batch(encoder, "cpu", "int8", "onnxruntime") == 1
    assert default_batch(encoder, "cpu", "fp32", "onnxruntime") > 1


def test_a_model_gives_the_features_that_are_wished_for(encoder: Package) -> None:
    wish = Wish(frozenset({"ms"}), ("fused", "ms_map"))
    with open_model([encoder], choice=CHOICE, wish=wish) as model:
        assert [slot.name for slot in model.inputs] == ["ms"]
        feeds = series(5, 1)
        fused, ms_map = model.run(feeds)
    np.testing.assert_allclose(fused, pooled(feeds["ms"][:, 0], 2), atol=1e-6)
    np.testing.assert_allclose(ms_map, fused, atol=1e-6)


def test_a_wish_leaves_out_only_what_a_stage_computes(encoder: Package, tmp_path: Path) -> None:
    wish = Wish(frozenset({"hr"}))
    assert [slot.name for slot in wish.inputs(Assembly(encoder))] == ["hr"]
    assert Wish().inputs(Assembly(encoder)) == encoder.inputs
    plain = packages.two_sensor_package(tmp_path, sar_required=False)
    assert [slot.name for slot in Wish(frozenset({"ms"})).inputs(Assembly(plain))] == ["ms", "sar"]


def test_an_absent_input_of_one_graph_has_no_band(tmp_path: Path) -> None:
    """Its band flags are zeros, beside an image of fill values."""
    package = two_inputs_with_bands(tmp_path)
    with open_model([package], choice=CHOICE) as model:
        image = noise(2, 1, 16, 16)
        (scores,) = model.run({"ms": image, "ms_bands": np.ones((2, 1), np.float32)})
        np.testing.assert_array_equal(scores, image)
        both = {"ms": image, "ms_bands": np.ones((2, 1), np.float32)}
        (scores,) = model.run({**both, "raster": image, "raster_bands": np.ones((2, 1), np.float32)})
        np.testing.assert_allclose(scores, 2 * image, atol=1e-6)


def two_inputs_with_bands(folder: Path) -> Package:
    """A bundle in one graph: the sum of its inputs, each times whether its band is there."""
    ms, raster = (
        InputSlot(
            name, name, (), (BandNeed("B1"),), "dn", 16, fill=5.0, required=name == "ms", bands_input=f"{name}_bands"
        )
        for name in ("ms", "raster")
    )
    package = replace(
        packages.identity_package(folder / "plain", window=16), root=Path(), name="with-bands", inputs=(ms, raster)
    )
    value, node = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    inputs = []
    for name in ("ms", "raster"):
        inputs.append(value(name, onnx.TensorProto.FLOAT, ["batch", 1, 16, 16]))
        inputs.append(value(f"{name}_bands", onnx.TensorProto.FLOAT, ["batch", 1]))
    nodes = [
        node("Unsqueeze", ["ms_bands", "axes"], ["ms_there"]),
        node("Unsqueeze", ["raster_bands", "axes"], ["raster_there"]),
        node("Mul", ["ms", "ms_there"], ["one"]),
        node("Mul", ["raster", "raster_there"], ["other"]),
        node("Add", ["one", "other"], ["scores"]),
    ]
    axes = onnx.numpy_helper.from_array(np.array([2, 3], np.int64), "axes")
    output = value("scores", onnx.TensorProto.FLOAT, ["batch", 1, 16, 16])
    graph = onnx.helper.make_graph(nodes, "sum", inputs, [output], initializer=[axes])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    content = bytes(model.SerializeToString())
    patches = {"ms": noise(1, 1, 16, 16), "raster": noise(1, 1, 16, 16, seed=1)}
    patches |= {f"{name}_bands": np.ones((1, 1), np.float32) for name in ("ms", "raster")}
    outputs = packages.run_graph(content, patches)
    return build(package, {"model.onnx": content, "LICENSE": packages.LICENCE}, patches, outputs, folder)
