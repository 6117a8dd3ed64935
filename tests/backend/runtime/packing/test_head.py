"""Heads as packages: what their descriptions say, what their golden data hold, and how detections are compared."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from backend.manifest import files, golden
from backend.manifest.check import check_head
from backend.manifest.package import Feature, Package, Tiling
from backend.models.load import initialise
from backend.models.registry import build
from backend.protocol.errors import PackageError, ParameterError
from backend.runtime.packing import skysense_v2, smarties
from backend.runtime.packing.head import describe_head, golden_patches, pack_head
from backend.runtime.verify import verify
from tests import packages

MAPS = ("p4", "p8", "p16", "p32")
CHANNELS = (3, 3, 3, 3)
CLASSES = packages.classes(2)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return packages.pyramid_encoder(tmp_path_factory.mktemp("pyramid"))


def describe(encoder: Package, head: str, features: tuple[str, ...], task: str = "segment", **fields: Any) -> Package:
    arguments = {"channels": CHANNELS[: len(features)], "classes": 2, **fields.pop("arguments", {})}
    fields = {"window": 64, **fields}
    return describe_head(
        encoder, head, features, CLASSES, f"a-{head}", "1.0.0", "A head", task, arguments=arguments, **fields
    )


def packed(package: Package, encoder: Package, folder: Path) -> Package:
    variant = package.variants[0]
    network = initialise(build(variant.architecture or "", variant.parameters, device="meta"), seed=0).eval()
    return pack_head(network, package, golden_patches(package, encoder), folder, "Free.", "# A head")


# --- descriptions


def test_a_head_on_one_input_has_the_windows_of_that_input() -> None:
    skysense = skysense_v2.describe("tiny", "sky", "1.0.0", "Sky")
    found = describe(skysense, "upernet", ("ms_1", "ms_2", "ms_3", "ms_4"), window=0)
    assert found.tiling == Tiling(64, 4, 8)
    assert describe(skysense, "fcn", ("fused",), window=512).tiling == skysense.tiling
    model = smarties.describe("tiny", "smart", "1.0.0", "Smart")
    assert describe(model, "linear-map", ("s2_4",), window=0).tiling == Tiling(112, 8, 16)
    assert describe(model, "linear-map", ("rgb_4",), window=0).tiling == model.tiling


def test_a_head_on_the_joined_map_must_say_its_window() -> None:
    skysense = skysense_v2.describe("tiny", "sky", "1.0.0", "Sky")
    with pytest.raises(ParameterError, match="window of the head is not known"):
        describe(skysense, "fcn", ("fused",), window=0)


@pytest.mark.parametrize("window", [48, 96, 200])
def test_a_window_that_no_input_divides_is_refused(window: int) -> None:
    skysense = skysense_v2.describe("tiny", "sky", "1.0.0", "Sky")
    with pytest.raises(PackageError, match="no whole multiple"):
        describe(skysense, "fcn", ("fused",), window=window)


def test_a_feature_that_the_encoder_lacks_is_named(encoder: Package) -> None:
    with pytest.raises(ParameterError, match="no feature p64"):
        describe(encoder, "fcn", ("p64",))


def test_a_head_fits_only_its_own_encoder(encoder: Package) -> None:
    head = describe(encoder, "fcn", ("p4",))
    check_head(head, encoder)
    with pytest.raises(PackageError, match="does not belong"):
        check_head(head, replace(encoder, digest="0" * 64))
    with pytest.raises(PackageError, match="another one"):
        check_head(replace(head, features=(Feature("p4", 5, 16),)), encoder)
    with pytest.raises(PackageError, match="tilings differ"):
        check_head(replace(head, tiling=Tiling(32, 32, 8)), encoder)


def test_change_takes_every_feature_of_both_dates(encoder: Package) -> None:
    package = describe(encoder, "upernet-semantic-change", MAPS, "change", arguments={"width": 4})
    names = [f"{moment}_{name}" for moment in ("before", "after") for name in MAPS]
    assert list(package.head_inputs) == golden.input_names(package) == names
    assert [output.name for output in package.outputs] == ["before", "after", "changed"]
    variant = package.variants[0]
    assert list(build("head", variant.parameters, device="meta").input_names) == names  # type: ignore[arg-type]


# --- packages


@pytest.mark.parametrize(
    ("head", "features", "task", "arguments"),
    [
        ("upernet", MAPS, "segment", {"width": 4}),
        ("fcn", ("p4",), "segment", {"width": 4}),
        ("linear-map", ("p8",), "segment", {}),
        ("bit", MAPS, "change", {}),
        ("upernet-semantic-change", MAPS, "change", {"width": 4}),
        ("scene-classifier", ("mean",), "classify", {"channels": 3}),
        ("faster-rcnn", MAPS, "detect", {"width": 8, "hidden": 16}),
        ("oriented-rcnn", MAPS, "detect", {"width": 8, "hidden": 16}),
    ],
)
def test_every_kind_is_packed_loaded_and_verified(
    encoder: Package, tmp_path: Path, head: str, features: tuple[str, ...], task: str, arguments: dict[str, Any]
) -> None:
    done = packed(describe(encoder, head, features, task, arguments=arguments), encoder, tmp_path)
    checks = verify(done)
    assert checks and all(check.ok for check in checks), [check.sentence() for check in checks]
    assert done.path(done.golden).stat().st_size < files.LARGEST_GOLDEN


def test_golden_features_are_what_the_encoder_gives(encoder: Package) -> None:
    """Of the stored patch and its golden input, sampled by hand."""
    package = describe(encoder, "linear-map", ("p8",))
    inputs, _ = golden.read(encoder)
    means = inputs["image"].reshape(1, 3, 8, 8, 8, 8).mean(axis=(3, 5))
    places = [0, 2, 4, 5, 7]  # centres of five equal parts of eight
    expected = means[:, :, places][..., places]
    np.testing.assert_allclose(golden_patches(package, encoder)["p8"], expected, atol=1e-6)


def test_golden_dates_differ(encoder: Package) -> None:
    patches = golden_patches(describe(encoder, "bit", MAPS, "change"), encoder)
    assert all(np.abs(patches[f"before_{name}"] - patches[f"after_{name}"]).max() > 0.1 for name in ("p4", "p8"))


# --- detections against their golden output


@pytest.fixture(scope="module")
def detector(encoder: Package, tmp_path_factory: pytest.TempPathFactory) -> Package:
    package = describe(encoder, "faster-rcnn", MAPS, "detect", arguments={"width": 8, "hidden": 16})
    return packed(package, encoder, tmp_path_factory.mktemp("detector"))


def verified(detector: Package, folder: Path, change: Any) -> tuple[bool, float | None]:
    """The check of a copy whose golden detections (N x 7) were changed."""
    shutil.copytree(detector.root, folder / "copy")
    copy = replace(detector, root=folder / "copy")
    tensors = load_file(copy.path(copy.golden))
    change(tensors["output/detections"][0])
    save_file(tensors, copy.path(copy.golden))
    (check,) = verify(copy)
    return check.ok, check.difference


def exchange(rows: np.ndarray) -> None:
    """The first box with the next, as if rounding had turned two scores that are almost the same around."""
    rows[[0, 1]] = rows[[1, 0]]
    rows[:2, 5] = rows[1, 5]


def test_detections_are_padded_by_falling_score(detector: Package) -> None:
    rows = load_file(detector.path(detector.golden))["output/detections"][0]
    assert rows.shape == (100, 7) and (np.diff(rows[:, 5]) <= 0).all()
    assert rows[0, 5] > 0 and set(rows[rows[:, 5] > 0][:, 6]) <= {0, 1}
    assert (rows[rows[:, 5] < 0][:, 5] == -1).all()
    (told,) = json.loads(detector.path("model.json").read_text())["properties"]["mlm:output"]
    assert told["result"]["shape"] == [-1, -1, 7]


def test_the_order_of_equal_scores_does_not_matter(detector: Package, tmp_path: Path) -> None:
    rows = load_file(detector.path(detector.golden))["output/detections"][0]
    gap = float(rows[0, 5] - rows[1, 5])
    ok, difference = verified(detector, tmp_path, exchange)
    assert difference == pytest.approx(gap, abs=1e-6)
    assert ok == (gap <= 1e-3)


@pytest.mark.parametrize("value", [0, 3, 4, 5, 6], ids=["place", "height", "angle", "score", "class"])
def test_another_box_is_found(detector: Package, tmp_path: Path, value: int) -> None:
    def move(rows: np.ndarray) -> None:
        rows[2, value] += 0.5

    ok, difference = verified(detector, tmp_path, move)
    assert not ok and difference is not None and difference > 0.1


def test_a_box_that_lacks_is_found(detector: Package, tmp_path: Path) -> None:
    def remove(rows: np.ndarray) -> None:
        rows[2:-1] = rows[3:]

    assert not verified(detector, tmp_path, remove)[0]
