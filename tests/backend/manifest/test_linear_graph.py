"""The graph of a linear head, written without the onnx package, is what the onnx package and torch expect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

from backend.manifest.linear_graph import linear_graph
from backend.manifest.onnx_graph import read_graph
from backend.runtime.onnx_session import OnnxSession


@pytest.mark.parametrize(("size", "window", "classes"), [(16, 64, 3), (14, 112, 300), (8, 8, 2)])
def test_it_computes_a_convolution_and_bilinear_enlargement(
    tmp_path: Path, size: int, window: int, classes: int
) -> None:
    random = np.random.default_rng(0)
    weights, bias = random.normal(size=(classes, 5)), random.normal(size=classes)
    path = tmp_path / "head.onnx"
    path.write_bytes(linear_graph("fused", size, weights, bias, window))
    onnx.checker.check_model(onnx.load(path), full_check=True)
    assert read_graph(path).inputs == {"fused": (1, (None, 5, size, size))}
    maps = random.normal(size=(2, 5, size, size)).astype(np.float32)
    session = OnnxSession(path, "fp32")
    found = session.run({"fused": maps})["scores"]
    session.close()
    logits = functional.conv2d(
        torch.from_numpy(maps), torch.from_numpy(weights).float()[:, :, None, None], torch.from_numpy(bias).float()
    )
    expected = functional.interpolate(logits, size=(window, window), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
