"""What a package promises of its variants follows from what was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.manifest.package import Package, Variant
from backend.protocol.errors import PackageError
from backend.runtime.packing.tolerances import Difference, with_tolerances
from tests import packages

EXPECTED = {"map": np.linspace(-20, 20, 200, dtype=np.float32).reshape(1, 2, 10, 10)}
WAYS = (("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("torch", "fp32"), ("torch", "bf16"))


@pytest.fixture
def package(tmp_path: Path) -> Package:
    variants = tuple(Variant(runtime, precision, "file", 0.0) for runtime, precision in WAYS)
    return replace(packages.identity_package(tmp_path / "p"), variants=variants)


def differences(**changes: Difference) -> dict[tuple[str, str], Difference]:
    found = {way: Difference(3e-6, 1e-7) for way in WAYS if way != ("torch", "fp32")}
    found["onnxruntime", "int8"] = Difference(0.0312, 0.01)
    return {**found, **{("onnxruntime", name): value for name, value in changes.items()}}


def test_difference_by_hand() -> None:
    found = Difference.between(
        {"a": np.array([1.0, 2.0]), "b": np.array([0.0, 0.5])}, {"a": np.array([1.0, 2.0]), "b": np.array([0.0, 1.0])}
    )
    assert found == Difference(0.5, 0.5)


def test_float32_is_held_to_one_number_and_reduced_precision_to_twice_what_was_measured(package: Package) -> None:
    done = {(v.runtime, v.precision): v.tolerance for v in with_tolerances(package, differences(), EXPECTED).variants}
    assert done["onnxruntime", "fp32"] == 1e-4
    assert done["onnxruntime", "int8"] == 0.062
    assert done["torch", "bf16"] == 1e-4  # never below what sums in another order differ by
    assert done["torch", "fp32"] == pytest.approx(1e-4 * 20)


def test_a_float32_graph_that_computes_something_else_is_an_error(package: Package) -> None:
    with pytest.raises(PackageError, match=r"0\.00011 where 0\.0001 is allowed"):
        with_tolerances(package, differences(fp32=Difference(1.1e-4, 1e-6)), EXPECTED)


@pytest.mark.parametrize("relative", [0.11, float("nan")])
def test_a_reduced_precision_that_is_far_off_is_left_out(package: Package, relative: float) -> None:
    done = with_tolerances(package, differences(int8=Difference(0.5, relative)), EXPECTED)
    assert [(v.runtime, v.precision) for v in done.variants] == [w for w in WAYS if w != ("onnxruntime", "int8")]


def test_weights_that_give_no_numbers_are_refused(package: Package) -> None:
    with pytest.raises(PackageError, match="not finite"):
        with_tolerances(package, differences(), {"map": np.array([np.nan])})
