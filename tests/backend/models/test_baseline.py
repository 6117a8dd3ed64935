"""The baseline network: shapes, size, features."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from backend.models.baseline import Baseline, SpectralFeatures
from backend.models.load import initialise
from backend.models.registry import build

SIX_BANDS: dict[str, Any] = {"input_name": "image", "mean": [0.1] * 6, "std": [0.2] * 6, "ratios": [1, 3, 1, 4]}


@pytest.mark.parametrize("size", [8, 64, 72])
def test_probabilities_at_every_pixel(size: int) -> None:
    network = initialise(build("baseline", SIX_BANDS, device="meta"), seed=0).eval()
    scores = network(torch.rand(2, 6, size, size))
    assert scores.shape == (2, 2, size, size)
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(2, size, size))
    assert scores.isfinite().all()


def test_every_parameter_learns() -> None:
    network = Baseline(**SIX_BANDS)
    network.logits(torch.rand(2, 6, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_registered_network_names_its_tensors_and_stays_small() -> None:
    network = build("baseline", SIX_BANDS, device="meta")
    assert (network.input_names, network.output_names) == (("image",), ("scores",))
    assert sum(p.numel() for p in network.parameters()) < 300_000


def test_features_by_hand() -> None:
    features = SpectralFeatures([0.0, 1.0], [1.0, 2.0], ratios=[0, 1], differences=[0, 1], smoothing=3)
    image = torch.tensor([[[[3.0, 3.0], [3.0, 3.0]], [[1.0, 1.0], [1.0, 5.0]]]])
    found = features(image)
    assert found.shape[1] == features.channels == 6
    assert found[0, :, 0, 0].tolist() == pytest.approx([3.0, 0.0, 3.0, 0.5, 0.5, 3.0])
    assert torch.isfinite(SpectralFeatures([0.0, 0.0], [1.0, 1.0], ratios=[0, 1])(torch.zeros(1, 2, 1, 1))).all()


def test_without_bands_brightness_is_not_seen() -> None:
    features = SpectralFeatures([0.0, 0.0], [1.0, 1.0], ratios=[0, 1], keep_bands=False)
    image = torch.rand(1, 2, 4, 4) + 0.1
    torch.testing.assert_close(features(image), features(3 * image))
