"""Heads of published SMARTIES files as networks: built without memory, exported, under autocast."""

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
from backend.protocol.errors import PackageError

HEADS = {
    "finetuned": {"layout": "finetuned", "feature": "x", "channels": 6, "classes": 4},
    "linear-probe": {"layout": "linear-probe", "feature": "x", "channels": 6, "classes": 4},
    "segmentation": {"layout": "segmentation", "feature": "x", "channels": 6, "classes": 4, "size": 10},
}
PAIR = {"member": "tiny", "slots": ("s1", "s2"), "band_sets": ("S1", "S2"), "classes": 3, "image_size": 32}


def head(layout: str) -> nn.Module:
    return initialise(registry.build("smarties-head", HEADS[layout], "meta"), seed=0).eval()


def pair() -> nn.Module:
    return initialise(registry.build("smarties-pair", PAIR, "meta"), seed=0).eval()


def feature(layout: str, batch: int) -> Tensor:
    return torch.randn(batch, 6, 5, 5) if layout == "segmentation" else torch.randn(batch, 6)


def exported(network: Any, tensors: tuple[Tensor, ...], path: Path) -> onnxruntime.InferenceSession:
    batch = torch.export.Dim("batch", min=1, max=64)
    shapes = tuple({0: batch} for _ in tensors)
    torch.onnx.export(
        network, tensors, path, dynamo=True, dynamic_shapes=shapes, input_names=list(network.input_names), verbose=False
    )
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("layout", HEADS)
def test_heads_export_with_any_batch(layout: str, tmp_path: Path) -> None:
    network, three = head(layout), feature(layout, 3)
    session = exported(network, (feature(layout, 2),), tmp_path / "head.onnx")
    expected = network(three).detach().numpy()
    np.testing.assert_allclose(session.run(None, {"x": three.numpy()})[0], expected, atol=1e-5)
    assert network.output_names == ("scores",) and network.input_names == ("x",)


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
        assert all(head(layout)(feature(layout, 2)).dtype == torch.float32 for layout in HEADS)


def test_certain_scenes_have_finite_logits() -> None:
    network: Any = pair()
    with torch.no_grad():
        network.head[1].bias.copy_(torch.tensor([300.0, -300.0, 0.0]))
        network.head[1].weight.zero_()
        found = network(torch.randn(1, 2, 20, 20), torch.randn(1, 12, 20, 20))
    torch.testing.assert_close(found, torch.tensor([[300.0, -300.0, 0.0]]))


@pytest.mark.parametrize(
    "wrong",
    [{"layout": "bagging"}, {"size": 10}, {"layout": "segmentation", "size": 0}],
    ids=["layout", "size of a scene", "no size"],
)
def test_parameters_that_make_no_head_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(PackageError, match="do not fit"):
        registry.build("smarties-head", HEADS["finetuned"] | wrong)
