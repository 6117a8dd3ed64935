"""The measured choice of runtime and precision."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.manifest.package import Package
from backend.protocol.errors import PackageError
from backend.protocol.jobs import ComputeSpec
from backend.runtime.assembly import assemble
from backend.runtime.choice import Choice, candidates
from backend.runtime.model import open_model
from backend.runtime.precision import choose

NEVER = 0.0  # no two computations agree exactly, bf16 least of all


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Choices that are remembered stay within a test."""
    monkeypatch.setenv("EARTHPRISM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def kind(choice: Choice) -> tuple[str, str]:
    return choice.runtime, choice.precision


def test_fastest_of_the_accurate(with_tolerances: Callable[..., Package]) -> None:
    assembly = assemble([with_tolerances(1e-3, 1e-3, 1.0)])
    for number, wanted in enumerate(candidates(assembly, ComputeSpec(device="cpu")), 1):
        request = ComputeSpec(device="cpu", batch=number)  # another one each time, so that nothing is remembered
        seconds = {kind(choice): 2.0 for choice in candidates(assembly, request)} | {kind(wanted): 1.0}
        assert kind(choose(assembly, request, lambda choice, known=seconds: known[kind(choice)])) == kind(wanted)


def test_inaccurate_variants_are_never_chosen(with_tolerances: Callable[..., Package]) -> None:
    package = with_tolerances(1e-3, NEVER, NEVER)
    with open_model([package], ComputeSpec(device="cpu")) as model:
        assert kind(model.choice) == ("onnxruntime", "fp32")
    package = with_tolerances(NEVER, 1e-3, NEVER)
    measured = choose(assemble([package]), ComputeSpec(device="cpu"), lambda choice: float(choice.precision == "fp32"))
    assert kind(measured)[1] == "fp32"


def test_no_accurate_variant(two_runtimes: Package, with_tolerances: Callable[..., Package]) -> None:
    impossible = with_tolerances(-1.0, -1.0, -1.0)
    with pytest.raises(PackageError, match=r"differs by .* is allowed"):
        open_model([impossible])


def test_a_precision_asked_for_is_taken(with_tolerances: Callable[..., Package]) -> None:
    with open_model([with_tolerances(NEVER, NEVER, NEVER)], ComputeSpec(precision="fp32", runtime="torch")) as model:
        assert kind(model.choice) == ("torch", "fp32")


def test_choice_is_remembered_per_package_and_request(two_runtimes: Package, home: Path) -> None:
    assembly, calls = assemble([two_runtimes]), []

    def timed(choice: Choice) -> float:
        calls.append(choice)
        return float(len(calls))

    first = choose(assembly, ComputeSpec(device="cpu"), timed)
    measured = len(calls)
    assert choose(assembly, ComputeSpec(device="cpu"), timed) == first
    assert len(calls) == measured
    choose(assembly, ComputeSpec(device="cpu", batch=2), timed)
    assert len(calls) == 2 * measured
    assert len(json.loads((home / "choices.json").read_text())) == 2
    (home / "choices.json").write_text("{ damaged")
    choose(assembly, ComputeSpec(device="cpu"), timed)
    assert len(calls) == 3 * measured


def test_heads_limit_the_choice(encoder_with_heads: tuple[Package, list[Package]]) -> None:
    encoder, heads = encoder_with_heads
    found = candidates(assemble([encoder, *heads]), ComputeSpec())
    assert [kind(choice) for choice in found] == [("onnxruntime", "fp32")]
