"""torch.compile is an option: where there is a compiler it gives the same numbers."""

from __future__ import annotations

import shutil

import pytest
import torch

from backend.models import encoders
from backend.models.encoders.smarties_spectrum import band_sets

TOLERANCE = 1e-4

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler, and there is none"),
]


@torch.inference_mode()
def test_skysense_v2_compiles() -> None:
    few = {"depths": (1, 1, 1, 1), "experts": 2, "expert_blocks": 1}  # compiling takes seconds for every block
    encoder = encoders.build("skysense-v2-tiny", seed=0, **few).eval()
    image = torch.randn(1, 10, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = encoder.features(image, "ms")
    for one, other in zip(torch.compile(encoder.features)(image, "ms"), expected, strict=True):
        torch.testing.assert_close(one, other, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_smarties_compiles() -> None:
    encoder = encoders.build("smarties-tiny", seed=0).eval()
    image = torch.randn(1, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    bands = encoder.bands(band_sets()["S1"])
    expected = encoder(image, bands)
    found = torch.compile(encoder)(image, bands)
    torch.testing.assert_close(found.dense, expected.dense, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(found.feature, expected.feature, atol=TOLERANCE, rtol=0)
