"""Sessions in both runtimes: interrupt, errors, agreement."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from backend.manifest.onnx_graph import read_graph
from backend.manifest.package import Package
from backend.protocol.errors import Cancelled, PackageError
from backend.runtime.choice import Choice, open_session, stored_bytes
from backend.runtime.onnx_session import OnnxSession
from backend.runtime.session import Session, activate
from backend.runtime.torch_session import TorchSession, load_network

CHOICES = [Choice("onnxruntime", "fp32", "cpu", 4), Choice("torch", "fp32", "cpu", 4)]


@pytest.fixture(params=CHOICES, ids=lambda choice: choice.runtime)
def session(request: pytest.FixtureRequest, two_runtimes: Package) -> Session:
    return open_session(two_runtimes, request.param)


def image(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 2, 64, 64), dtype=np.float32)


def test_names_and_shapes(session: Session) -> None:
    assert (session.inputs, session.outputs) == (("image",), ("scores",))
    scores = session.run({"image": image(3)})["scores"]
    assert (scores.shape, scores.dtype) == ((3, 2, 64, 64), np.float32)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_activation_is_applied(session: Session, activation: str) -> None:
    raw = session.run({"image": image(1)})["scores"]
    applied = session.run({"image": image(1)}, {"scores": activation})["scores"]
    powers = np.exp(raw)
    expected = powers / powers.sum(axis=1, keepdims=True) if activation == "softmax" else powers / (1 + powers)
    np.testing.assert_allclose(applied, expected, atol=1e-6)


def test_activation_takes_extreme_scores() -> None:
    scores = np.array([[-1e4, 0, 1e4]], dtype=np.float32).reshape(1, 3, 1, 1)
    assert activate(scores, "softmax").ravel().tolist() == [0, 0, 1]
    assert activate(scores, "sigmoid").ravel().tolist() == [0, 0.5, 1]


def test_interrupt_from_another_thread(session: Session) -> None:
    feeds = {"image": np.repeat(image(1), 8, axis=0)}
    started, raised = threading.Event(), []

    def work() -> None:
        try:
            while True:
                session.run(feeds)
                started.set()
        except Cancelled as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(30)
    session.interrupt()
    thread.join(30)
    assert raised
    with pytest.raises(Cancelled):
        session.run(feeds)


def test_wrong_input_is_a_package_error(session: Session) -> None:
    with pytest.raises(PackageError):
        session.run({"image": np.zeros((1, 5, 64, 64), np.float32)})
    with pytest.raises(PackageError):
        session.run({"other": image(1)})


def test_damaged_graph_is_refused(tmp_path: Path) -> None:
    graph = tmp_path / "model.onnx"
    graph.write_bytes(b"no graph")
    with pytest.raises(PackageError, match=r"model\.onnx"):
        OnnxSession(graph, "fp32")


def test_runtimes_agree(two_runtimes: Package) -> None:
    first, second = (open_session(two_runtimes, choice).run({"image": image(2)})["scores"] for choice in CHOICES)
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_int8_computes_each_window_alone(two_runtimes: Package) -> None:
    session = OnnxSession(two_runtimes.path("model.onnx"), "int8")
    together = session.run({"image": image(3)})["scores"]
    alone = [session.run({"image": image(3)[i : i + 1]})["scores"] for i in range(3)]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_a_closed_session_leaves_nothing_on_a_shared_network(two_runtimes: Package) -> None:
    variant = next(variant for variant in two_runtimes.variants if variant.runtime == "torch")
    network = load_network(variant.architecture or "", variant.parameters, two_runtimes.path(variant.file))
    first, second = TorchSession(network), TorchSession(network)
    first.close()
    expected = second.run({"image": image(1)})["scores"]
    second.close()
    assert not any(module._forward_pre_hooks for module in network.modules())
    third = TorchSession(network)
    np.testing.assert_array_equal(third.run({"image": image(1)})["scores"], expected)


def test_only_what_is_opened_counts_as_stored(two_runtimes: Package) -> None:
    sizes = {name: two_runtimes.path(name).stat().st_size for name in ("model.onnx", "weights.safetensors")}
    onnx, torch = (stored_bytes(two_runtimes, choice) for choice in CHOICES)
    outside = sum(piece.length for piece in read_graph(two_runtimes.path("model.onnx")).external)
    assert (onnx, torch) == (sizes["model.onnx"] + outside, sizes["weights.safetensors"])
