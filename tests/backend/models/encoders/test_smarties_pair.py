"""The published multi-modal probe as a network: built without memory, exported, under autocast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from backend.models import registry
from backend.models.load import initialise

PAIR = {"member": "tiny", "slots": ("s1", "s2"), "band_sets": ("S1", "S2"), "classes": 3, "image_size": 32}


def pair() -> nn.Module:
    return initialise(registry.build("smarties-pair", PAIR, "meta"), seed=0).eval()


def exported(network: Any, tensors: tuple[Tensor, ...], path: Path) -> onnxruntime.InferenceSession:
    batch = torch.export.Dim("batch", min=1, max=64)
    shapes = tuple({0: batch} for _ in tensors)
    torch.onnx.export(
        network, tensors, path, dynamo=True, dynamic_shapes=shapes, input_names=list(network.input_names), verbose=False
    )
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.slow
def test_the_pair_exports_with_any_batch(tmp_path: Path) -> None:
    network = pair()
    session = exported(network, (torch.randn(2, 2, 20, 20), torch.randn(2, 12, 20, 20)), tmp_path / "pair.onnx")
    three = torch.randn(3, 2, 20, 20), torch.randn(3, 12, 20, 20)
    feeds = dict(zip(("s1", "s2"), (tensor.numpy() for tensor in three), strict=True))
    with torch.inference_mode():
        expected = network(*three).numpy()
    np.testing.assert_allclose(session.run(None, feeds)[0], expected, atol=1e-4)


def test_logits_are_single_precision_under_autocast() -> None:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert pair()(torch.randn(1, 2, 20, 20), torch.randn(1, 12, 20, 20)).dtype == torch.float32


def test_certain_scenes_have_finite_logits() -> None:
    network: Any = pair()
    with torch.no_grad():
        network.head[1].bias.copy_(torch.tensor([300.0, -300.0, 0.0]))
        network.head[1].weight.zero_()
        found = network(torch.randn(1, 2, 20, 20), torch.randn(1, 12, 20, 20))
    torch.testing.assert_close(found, torch.tensor([[300.0, -300.0, 0.0]]))
