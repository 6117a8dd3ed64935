"""Golden checks: intact packages pass, changed weights and graphs do not."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from backend.manifest.load import load
from backend.manifest.package import Package
from backend.protocol.jobs import ComputeSpec
from backend.runtime.verify import verify
from tests import packages


def test_every_variant_of_an_intact_package_passes(two_runtimes: Package) -> None:
    checks = verify(two_runtimes)
    assert [(check.runtime, check.precision) for check in checks] == [
        ("onnxruntime", "fp32"), ("torch", "fp32"), ("torch", "bf16"),
    ]  # fmt: skip
    assert all(check.ok for check in checks if check.problem == "")
    assert all(check.to_dict()["ok"] is check.ok for check in checks)


def test_request_limits_the_checks(two_runtimes: Package) -> None:
    assert len(verify(two_runtimes, ComputeSpec(runtime="torch", precision="fp32"))) == 1


def copy_of(package: Package, folder: Path) -> Package:
    shutil.copytree(package.root, folder / "copy")
    return replace(package, root=folder / "copy")


def test_changed_weight_is_found(two_runtimes: Package, tmp_path: Path) -> None:
    damaged = copy_of(two_runtimes, tmp_path)
    weights = load_file(damaged.path("weights.safetensors"))
    weights["classify.weight"][0] += np.float32(0.5)
    save_file(weights, damaged.path("weights.safetensors"))
    onnx, *torch = verify(damaged)
    assert onnx.ok
    assert not any(check.ok for check in torch)
    assert "is allowed" in torch[0].sentence()


def test_weight_that_is_not_a_number_is_found(two_runtimes: Package, tmp_path: Path) -> None:
    damaged = copy_of(two_runtimes, tmp_path)
    weights = load_file(damaged.path("weights.safetensors"))
    weights["classify.bias"][0] = np.nan
    save_file(weights, damaged.path("weights.safetensors"))
    check = verify(damaged, ComputeSpec(runtime="torch", precision="fp32"))[0]
    assert not check.ok
    assert check.to_dict()["difference"] is None


def test_missing_tensor_is_reported_by_name(two_runtimes: Package, tmp_path: Path) -> None:
    damaged = copy_of(two_runtimes, tmp_path)
    weights = load_file(damaged.path("weights.safetensors"))
    del weights["stem.0.weight"]
    save_file(weights, damaged.path("weights.safetensors"))
    check = verify(damaged, ComputeSpec(runtime="torch", precision="fp32"))[0]
    assert "stem.0.weight" in check.problem


def test_other_graph_is_found(light_net: Package, tmp_path: Path) -> None:
    other = packages.conv_package(tmp_path / "other", window=64, seed=2)
    damaged = copy_of(light_net, tmp_path)
    shutil.copy(other.path("model.onnx"), damaged.path("model.onnx"))
    assert not verify(damaged)[0].ok


def test_heads_are_checked_on_features(encoder_with_heads: tuple[Package, list[Package]]) -> None:
    encoder, heads = encoder_with_heads
    assert all(check.ok for package in (encoder, *heads) for check in verify(package))


@pytest.mark.parametrize("name", ["water-baseline-s2", "water-baseline-s1"])
def test_built_in_water_models(name: str) -> None:
    package = load(name)
    checks = verify(package)
    assert {check.runtime for check in checks} == {"onnxruntime", "torch"}
    assert all(check.ok for check in checks if check.precision == "fp32")
    assert sum(path.stat().st_size for path in package.root.iterdir()) < 1_000_000
