"""Staged encoders: stages open when needed, the join sees every date, what lacks does not count."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from backend.manifest.build import write_sums
from backend.manifest.load import load_folder
from backend.manifest.package import Package
from backend.protocol.errors import Cancelled, PackageError
from backend.runtime.choice import Choice, open_session
from backend.runtime.model import Wish, open_model
from backend.runtime.onnx_session import OnnxSession
from backend.runtime.staged_session import StagedSession
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


def test_a_model_gives_the_features_that_are_wished_for(encoder: Package) -> None:
    wish = Wish(frozenset({"ms"}), ("fused", "ms_map"))
    with open_model([encoder], choice=CHOICE, wish=wish) as model:
        assert [slot.name for slot in model.inputs] == ["ms"]
        feeds = series(5, 1)
        fused, ms_map = model.run(feeds)
    np.testing.assert_allclose(fused, pooled(feeds["ms"][:, 0], 2), atol=1e-6)
    np.testing.assert_allclose(ms_map, fused, atol=1e-6)


def test_a_stage_of_another_shape_is_refused(encoder: Package, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(encoder.root, folder)
    shutil.copyfile(folder / "hr.onnx", folder / "ms.onnx")
    size = (folder / "ms.onnx").stat().st_size
    text = (folder / "model.json").read_text()
    old = encoder.path("ms.onnx").stat().st_size
    (folder / "model.json").write_text(text.replace(f'"file:size": {old}', f'"file:size": {size}'))
    write_sums(folder)
    with pytest.raises(PackageError, match=r"ms\.onnx"):
        load_folder(folder)
