"""Packages of a real small network in both runtimes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.manifest import golden
from backend.manifest.build import build
from backend.manifest.package import BandNeed, InputSlot, Output, Package, Tiling, Variant
from backend.models.load import initialise, save_weights
from backend.models.registry import build as build_network
from backend.train.export import export_onnx, noise_patch, outputs_of
from tests import packages

WINDOW = 64
PARAMETERS = {"input_name": "image", "mean": [0.1, 0.2], "std": [0.1, 0.1], "width": 4, "ratios": [0, 1]}


def two_runtime_package(folder: Path, tolerances: tuple[float, ...] = (1e-4, 1e-4, 0.1)) -> Package:
    """The baseline network in onnxruntime fp32, torch fp32 and torch bf16, with these tolerances."""
    network = initialise(build_network("baseline", PARAMETERS, device="meta"), seed=1).eval()
    patches = {"image": noise_patch(np.array([0.0, 0.1]), np.array([0.4, 0.2]))}
    feeds = {"image": golden.expand(patches["image"], WINDOW)}
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    export_onnx(network, {"image": np.repeat(feeds["image"], 2, axis=0)}, scratch / "model.onnx")
    save_weights(network, scratch / "weights.safetensors")
    kinds = (("onnxruntime", "fp32"), ("torch", "fp32"), ("torch", "bf16"))
    package = Package(
        Path(), "two-runtimes", "1.0.0", "two runtimes", "bundle", "segment", Tiling(WINDOW, 8, 8),
        tuple(
            Variant(runtime, precision, "model.onnx", tolerance) if runtime == "onnxruntime"
            else Variant(runtime, precision, "weights.safetensors", tolerance, "baseline", PARAMETERS)
            for (runtime, precision), tolerance in zip(kinds, tolerances, strict=True)
        ),
        inputs=(InputSlot("image", "ms", (), (BandNeed("B1"), BandNeed("B2")), "reflectance", WINDOW),),
        outputs=(Output("scores", "identity", packages.classes(2)),), licence="CC0-1.0",
    )  # fmt: skip
    parts = {name: scratch / name for name in ("model.onnx", "weights.safetensors")}
    return build(package, {**parts, "LICENSE": packages.LICENCE}, patches, outputs_of(network, feeds), folder)


@pytest.fixture(scope="session")
def two_runtimes(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """See `two_runtime_package`."""
    return two_runtime_package(tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="session")
def light_net(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Three convolutions, 10 classes, 4 bands, window 64."""
    return packages.conv_package(tmp_path_factory.mktemp("light"), window=64)


@pytest.fixture(scope="session")
def encoder_with_heads(tmp_path_factory: pytest.TempPathFactory) -> tuple[Package, list[Package]]:
    """An encoder and two heads of it."""
    return packages.encoder_and_heads(tmp_path_factory.mktemp("heads"))


@pytest.fixture
def with_tolerances(two_runtimes: Package) -> Callable[..., Package]:
    """The package of `two_runtimes` as if its author had stated other tolerances."""

    def change(*tolerances: float) -> Package:
        variants = tuple(replace(v, tolerance=t) for v, t in zip(two_runtimes.variants, tolerances, strict=True))
        text = "-".join(map(str, tolerances))
        return replace(two_runtimes, variants=variants, digest=f"{two_runtimes.digest}-{text}")

    return change
