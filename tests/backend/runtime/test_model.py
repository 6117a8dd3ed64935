"""Models: one pass through encoder and heads, batches, memory, what does not fit together."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.manifest.package import Package
from backend.protocol.errors import Cancelled, DeviceError, PackageError, ParameterError, ResumeError
from backend.protocol.jobs import ComputeSpec
from backend.runtime.choice import Choice, default_batch
from backend.runtime.model import blank_feeds, measure, open_model
from tests import packages

RUNTIMES = ["onnxruntime", "torch"]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_scores_do_not_depend_on_batch_or_place(two_runtimes: Package, runtime: str) -> None:
    feeds = blank_feeds(two_runtimes.inputs, 7)
    with open_model([two_runtimes], choice=Choice(runtime, "fp32", "cpu", 1)) as model:
        alone = model.run(feeds)[0]
    for batch in (2, 3, 7, 16):
        with open_model([two_runtimes], choice=Choice(runtime, "fp32", "cpu", batch)) as model:
            np.testing.assert_allclose(model.run(feeds)[0], alone, atol=1e-6)
            backwards = model.run({name: array[::-1] for name, array in feeds.items()})[0]
            np.testing.assert_allclose(backwards[::-1], alone, atol=1e-6)
            padded = model.run({name: np.concatenate([array, 0 * array]) for name, array in feeds.items()})[0]
            np.testing.assert_allclose(padded[:7], alone, atol=1e-6)


def test_encoder_and_heads_share_a_pass(encoder_with_heads: tuple[Package, list[Package]]) -> None:
    encoder, heads = encoder_with_heads
    feeds = blank_feeds(encoder.inputs, 3)
    with open_model([*heads, encoder]) as model:
        together = model.run(feeds)
        assert model.packages == (encoder, *heads)
        assert (model.inputs, model.tiling) == (encoder.inputs, encoder.tiling)
        assert [output.name for output in model.outputs] == ["scores", "scores"]
    for head, scores in zip(heads, together, strict=True):
        features = packages.run_graph(str(encoder.path("model.onnx")), feeds)
        logits = packages.run_graph(str(head.path("model.onnx")), {"map": features["map"]})["scores"]
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert scores.shape == (3, 3, 64, 64)
        np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_missing_encoder_is_named(encoder_with_heads: tuple[Package, list[Package]]) -> None:
    encoder, heads = encoder_with_heads
    with pytest.raises(PackageError, match=f"(?s){encoder.digest}.*models install"):
        open_model(heads)


def test_installed_encoder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHPRISM_HOME", str(tmp_path))
    encoder, heads = packages.encoder_and_heads(tmp_path / "models", 1)
    with open_model(heads) as model:
        assert model.packages[0].digest == encoder.digest


def test_what_does_not_fit_together(encoder_with_heads: tuple[Package, list[Package]], light_net: Package) -> None:
    encoder, heads = encoder_with_heads
    with pytest.raises(PackageError, match="no model"):
        open_model([])
    with pytest.raises(PackageError, match="cannot share a pass"):
        open_model([light_net, encoder])
    with pytest.raises(PackageError, match="does not belong"):
        open_model([encoder, replace(heads[0], encoder="0" * 64)])
    with pytest.raises(PackageError, match="does not fit the encoder"):
        open_model([encoder, replace(heads[0], features=(replace(heads[0].features[0], channels=9),))])


def test_optional_input_may_be_absent(tmp_path: Path) -> None:
    package = packages.two_sensor_package(tmp_path, sar_required=False)
    with open_model([package]) as model:
        optical = blank_feeds(model.inputs, 2)["ms"]
        scores = model.run({"ms": optical})[0]
    np.testing.assert_array_equal(scores[:, 0], optical[:, 0])
    np.testing.assert_array_equal(scores[:, 1], np.zeros((2, 64, 64), np.float32))


def test_series_take_any_number_of_dates(tmp_path: Path) -> None:
    with open_model([packages.series_package(tmp_path)]) as model:
        dates = np.random.default_rng(0).random((2, 5, 1, 64, 64), dtype=np.float32)
        np.testing.assert_allclose(model.run({"image": dates})[0], dates.mean(axis=1), atol=1e-6)


def test_output_that_its_package_does_not_describe(light_net: Package) -> None:
    few = replace(light_net.outputs[0], classes=light_net.outputs[0].classes[:3])
    model = open_model([replace(light_net, outputs=(few,))], choice=Choice("onnxruntime", "fp32", "cpu", 1))
    with model, pytest.raises(PackageError, match="3 classes"):
        model.run(blank_feeds(model.inputs, 1))


def test_interrupt(light_net: Package) -> None:
    with open_model([light_net]) as model:
        feeds = blank_feeds(model.inputs, 200)
        timer = threading.Timer(0.05, model.interrupt)
        timer.start()
        with pytest.raises(Cancelled):
            for _ in range(1000):
                model.run(feeds)


def test_choice_round_trip(light_net: Package) -> None:
    with open_model([light_net]) as model:
        assert Choice.from_dict(model.choice.to_dict()) == model.choice
        with open_model([light_net], choice=Choice.from_dict(model.choice.to_dict())) as again:
            assert again.choice == model.choice
    for damaged in ({}, {**model.choice.to_dict(), "batch": "4"}, {**model.choice.to_dict(), "more": 1}):
        with pytest.raises(ResumeError):
            Choice.from_dict(damaged)


def test_wishes_that_cannot_be_met(light_net: Package) -> None:
    with pytest.raises(ParameterError, match="offers fp32"):
        open_model([light_net], ComputeSpec(precision="int8"))
    with pytest.raises(ParameterError, match="offers fp32"):
        open_model([light_net], ComputeSpec(runtime="torch"))
    with pytest.raises(DeviceError, match="unknown"):
        open_model([light_net], ComputeSpec(device="gpu"))
    with pytest.raises(DeviceError, match="is not there"):
        open_model([light_net], ComputeSpec(device="cuda:99"))


def test_batch_is_the_users_or_a_sensible_one(light_net: Package) -> None:
    with open_model([light_net], ComputeSpec(batch=3)) as model:
        assert model.choice.batch == 3
    assert default_batch(light_net, "cpu", "int8", "onnxruntime") == 1
    assert 1 <= default_batch(light_net, "cpu", "fp32", "onnxruntime") <= 8


def test_measure_gives_seconds_per_window(light_net: Package) -> None:
    with open_model([light_net]) as model:
        assert 0 < measure(model) < 10


LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from backend.manifest.load import load_folder
from backend.protocol.errors import DeviceError
from backend.runtime.choice import Choice
from backend.runtime.model import blank_feeds, open_model
model = open_model([load_folder(Path(sys.argv[1]))], choice=Choice("onnxruntime", "fp32", "cpu", int(sys.argv[2])))
feeds = blank_feeds(model.inputs, int(sys.argv[2]))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[3]) * 2**20, -1))
try:
    scores = model.run(feeds)[0]
    sys.stdout.write(f"{model.choice.batch} {scores.shape[0]}")
except DeviceError as error:
    sys.stdout.write(error.sentence())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_little_memory(tmp_path: Path, root: Path) -> None:
    package = packages.conv_package(tmp_path, 2, 1, 128, width=32)

    def run(batch: int, megabytes: int) -> str:
        command = [sys.executable, "-c", LITTLE_MEMORY, str(package.root), str(batch), str(megabytes)]
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=120).stdout

    # A batch of 128 needs about 560 MB (two hidden activations of 268 MB), one of 64 half of it.
    assert run(128, 490) == "64 128"
    assert "memory of cpu does not suffice" in run(128, 100)
