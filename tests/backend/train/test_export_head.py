"""Graphs of heads: close to torch for any batch, int8 where it pays, large weights beside the graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.manifest import golden
from backend.manifest.load import load_folder
from backend.manifest.package import Package
from backend.models.load import initialise
from backend.models.registry import build
from backend.protocol.errors import ParameterError
from backend.protocol.jobs import ComputeSpec
from backend.runtime.onnx_session import OnnxSession
from backend.runtime.packing.head import describe_head, golden_patches
from backend.runtime.torch_session import TorchSession
from backend.runtime.verify import verify
from backend.train import export_head as module
from backend.train.export_head import export_head
from backend.train.recipes.head_package import HeadPackage, run
from tests import packages

MAPS = ("p4", "p8", "p16", "p32")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return packages.pyramid_encoder(tmp_path_factory.mktemp("pyramid"))


def head(encoder: Package, kind: str, features: tuple[str, ...], task: str, **arguments: Any) -> tuple[Any, Package]:
    """A head with random weights, and its description."""
    package = describe_head(
        encoder, kind, features, packages.classes(2), "a-head", "1.0.0", "A head", task, 64,
        arguments={"channels": [3] * len(features), **arguments},
    )  # fmt: skip
    network = build("head", package.variants[0].parameters, device="meta")
    return initialise(network, seed=0).eval(), package


def test_a_graph_takes_any_batch(encoder: Package, tmp_path: Path) -> None:
    network, package = head(encoder, "fcn", ("p4",), "segment", classes=2, width=4)
    feeds = golden.expand_all(package, golden_patches(package, encoder))
    done, files = export_head(network, package, feeds, tmp_path)
    assert list(files) == ["head-fp32.onnx"]  # a head of convolutions has no int8 variant
    assert [(v.runtime, v.precision) for v in done.variants] == [("onnxruntime", "fp32"), ("torch", "fp32")]
    many = {"p4": np.random.default_rng(0).normal(0, 1, (5, 3, 16, 16)).astype(np.float32)}
    graph, torch = OnnxSession(files["head-fp32.onnx"], "fp32"), TorchSession(network)
    np.testing.assert_allclose(graph.run(many)["scores"], torch.run(many)["scores"], atol=1e-4)


@pytest.mark.slow
def test_a_head_of_matrix_products_has_int8(encoder: Package, tmp_path: Path) -> None:
    made = run(
        HeadPackage(
            str(encoder.root), "bit", "p8", "0:same:#ffffff,1:changed:#d7301f", str(tmp_path), "a-bit", task="change",
            window=64,
        )
    )  # fmt: skip
    package = load_folder(Path(made["package"]))
    checks = verify(package)
    assert [(check.runtime, check.precision) for check in checks] == [
        ("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("torch", "fp32"),
    ]  # fmt: skip
    assert all(check.ok for check in checks), [check.sentence() for check in checks]
    assert package.path("head-int8.onnx").stat().st_size < package.path("head-fp32.onnx").stat().st_size


def test_large_weights_lie_beside_the_graph(encoder: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_INSIDE", 10_000)
    made = run(
        HeadPackage(
            str(encoder.root), "fcn", "p4", "0:land:#d9c8a3,1:water:#1f6fb4", str(tmp_path), "wide", window=64,
            arguments="width=32",
        )
    )  # fmt: skip
    package = load_folder(Path(made["package"]))
    assert package.path("head-fp32.data").stat().st_size > package.path("head-fp32.onnx").stat().st_size
    (check,) = verify(package, ComputeSpec(runtime="onnxruntime"))
    assert check.ok, check.sentence()


def test_weights_of_a_file_are_packed(encoder: Package, tmp_path: Path) -> None:
    """A head that was learnt: other weights than random ones give another golden output."""
    recipe = HeadPackage(
        str(encoder.root), "linear-map", "p8", "0:land:#d9c8a3,1:water:#1f6fb4", str(tmp_path), "first", window=64,
        graphs="",
    )  # fmt: skip
    first = load_folder(Path(run(recipe)["package"]))
    weights = str(first.path("weights.safetensors"))
    learnt = replace(recipe, name="again", seed=1, weights=weights)
    with pytest.raises(ParameterError, match="licence of the weights"):
        run(learnt)
    owed = {"licence": "GPL-2.0-or-later", "attribution": "Ada Lovelace"}
    second = load_folder(Path(run(replace(learnt, **owed))["package"]))
    assert second.attribution == "Ada Lovelace" and second.path("LICENSE").read_text().startswith("Ada Lovelace")
    third = load_folder(Path(run(replace(recipe, name="other", seed=1))["package"]))
    stored = [golden.read(package)[1]["scores"] for package in (first, second, third)]
    np.testing.assert_array_equal(stored[0], stored[1])
    assert np.abs(stored[0] - stored[2]).max() > 1e-3
    assert (second.licence, second.training) == ("GPL-2.0-or-later", "") and "not trained" in third.training


@pytest.mark.parametrize("classes", ["water", "1:water", "one:water:#1f6fb4"])
def test_a_class_that_cannot_be_read_is_shown(encoder: Package, tmp_path: Path, classes: str) -> None:
    with pytest.raises(ParameterError, match="is no class"):
        run(HeadPackage(str(encoder.root), "fcn", "p4", classes, str(tmp_path), "x", window=64))
