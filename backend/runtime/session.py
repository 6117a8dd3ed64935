"""What every runtime offers: one graph, ready to run.

A session takes float32 arrays by input name and gives float32 arrays by output name. It is used by one thread at a
time; only `interrupt` may come from another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from backend.protocol.errors import Cancelled


class Session(Protocol):
    """One graph on one device.

    Attributes:
        runtime: "onnxruntime" or "torch".
        precision: "fp32", "bf16" or "int8".
        device: "cpu", "cuda:N" or "mps".
        inputs: names of the graph's inputs.
        outputs: names of the graph's outputs.
    """

    runtime: str
    precision: str
    device: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def run(
        self, feeds: Mapping[str, Any], wanted: Mapping[str, str] | None = None, on_device: bool = False
    ) -> dict[str, Any]:
        """Computes outputs.

        Args:
            feeds: float32 arrays by input name, or what a session of the same runtime and device gave `on_device`.
            wanted: activation ("identity", "softmax" or "sigmoid", over axis 1) by output name; None for every
                output as it is.
            on_device: leave the outputs where they are, for a session that takes them next.

        Raises:
            Cancelled: `interrupt` was called.
            MemoryError: the device's memory does not suffice; a smaller batch may.
            PackageError: the feeds do not fit the graph.
        """
        ...

    def interrupt(self) -> None:
        """Makes the present and every later run raise `Cancelled`, within a second; from any thread."""
        ...

    def close(self) -> None:
        """Releases memory; the session cannot be used afterwards."""
        ...


def cancelled() -> Cancelled:
    """The error that an interrupted run raises."""
    return Cancelled("the computation was stopped")


def activate(scores: np.ndarray, activation: str) -> np.ndarray:
    """Applies "identity", "softmax" or "sigmoid" over axis 1 of B x classes x H x W."""
    if activation == "softmax":
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)
    if activation == "sigmoid":
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * scores)), dtype=np.float32)
    return scores
