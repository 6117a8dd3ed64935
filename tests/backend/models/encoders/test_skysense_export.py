"""ONNX graphs of SkySense V2: sizes fixed, batch and number of dates dynamic, the same values as PyTorch."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from backend.models.encoders.fusion import TemporalFusion
from backend.models.encoders.skysense_v2 import MEMBERS, SkySenseV2
from backend.models.layers.experts import Experts
from tests.backend.models.encoders.skysense import CHANNELS, small

TOLERANCE = 1e-4
SIZES = {"hr": (64, 52), "ms": (20, 36), "sar": (24, 24)}  # odd maps, padded and shifted windows, maps below a window


class OfModality(nn.Module):
    """The backbone for one modality."""

    def __init__(self, network: SkySenseV2, modality: str) -> None:
        super().__init__()
        self.backbone, self.modality = network.backbone, modality

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps: tuple[Tensor, ...] = self.backbone(image, self.modality)
        return maps


def exported(
    network: nn.Module, example: tuple[Tensor, ...], dynamic: tuple[Mapping[int, Any], ...], path: Path
) -> onnxruntime.InferenceSession:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecated calls
        torch.onnx.export(
            network.eval(),
            example,
            str(path),
            dynamo=True,
            dynamic_shapes=dynamic,
            external_data=False,
            verbose=False,
        )
    return onnxruntime.InferenceSession(path)


def compare(session: onnxruntime.InferenceSession, network: nn.Module, tensors: tuple[Tensor, ...]) -> None:
    feeds = {slot.name: tensor.numpy() for slot, tensor in zip(session.get_inputs(), tensors, strict=True)}
    with torch.no_grad():
        expected = network(*tensors)
    expected = (expected,) if isinstance(expected, Tensor) else expected
    for found, wanted in zip(session.run(None, feeds), expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(found), wanted, atol=TOLERANCE, rtol=0)


def check_backbone(network: SkySenseV2, modality: str, folder: Path) -> None:
    module, size = OfModality(network, modality), SIZES[modality]
    example = torch.randn(2, CHANNELS[modality], *size)
    session = exported(module, (example,), ({0: torch.export.Dim("batch")},), folder / "backbone.onnx")
    for batch in (1, 3):
        compare(session, module, (torch.randn(batch, CHANNELS[modality], *size),))
    compare(session, module, (torch.zeros(2, CHANNELS[modality], *size),))  # some experts get no token


def test_experts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = Experts(8, 32, 4)
    torch.nn.init.normal_(layer.gate.weight)
    session = exported(layer, (torch.randn(2, 10, 8),), ({0: torch.export.Dim("batch")},), tmp_path / "experts.onnx")
    compare(session, layer, (torch.randn(3, 10, 8),))
    compare(session, layer, (torch.randn(1, 1, 8).expand(1, 10, 8).contiguous(),))  # one expert gets all the tokens


@pytest.mark.slow
def test_backbone(tmp_path: Path) -> None:
    check_backbone(small(depths=(1, 2, 1, 1), expert_blocks=1), "hr", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("modality", list(CHANNELS))
def test_tiny_backbone(modality: str, tmp_path: Path) -> None:
    arguments: dict[str, Any] = dict(MEMBERS["skysense-v2-tiny"].keywords)  # type: ignore[attr-defined]
    check_backbone(small(**arguments), modality, tmp_path)


def test_fusion(tmp_path: Path) -> None:
    torch.manual_seed(0)
    fusion = TemporalFusion(16, 32, layers=2, heads=2).eval()
    torch.nn.init.normal_(fusion.days)

    def inputs(batch: int, count: int) -> tuple[Tensor, ...]:
        days = torch.randint(0, 367, (batch, count))
        return torch.randn(batch, count, 16, 3, 4), days, torch.rand(batch, count, 3, 4) > 0.4

    dynamic = {0: torch.export.Dim("batch"), 1: torch.export.Dim("entries")}
    session = exported(fusion, inputs(2, 5), (dynamic,) * 3, tmp_path / "fusion.onnx")
    for batch, count in ((1, 5), (3, 7), (2, 1)):
        compare(session, fusion, inputs(batch, count))
    maps, days, valid = inputs(2, 4)
    compare(session, fusion, (maps, days, torch.zeros_like(valid)))  # nothing counts


def test_exporting_leaves_no_symbols_behind(tmp_path: Path) -> None:
    """Constants that were first needed while a graph was traced are values again afterwards."""
    network = small(depths=(1, 1, 1, 1), experts=0, positions="sine-cosine")
    torch.export.export(OfModality(network, "sar"), (torch.randn(2, 2, 28, 44),))
    with torch.no_grad():
        assert network(torch.randn(1, 2, 28, 44), "sar")[-1].isfinite().all()
