"""The three ways of bringing two images together."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from backend.models.encoders import smarties_fusion as fusion
from backend.models.encoders.smarties import Smarties
from backend.models.encoders.smarties_mixup import draw, taken_from_first
from backend.models.encoders.smarties_spectrum import band_sets
from backend.models.load import initialise


@pytest.fixture(scope="module")
def encoder() -> Smarties:
    return initialise(Smarties(64, 2, 2, 64), seed=0).eval()


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 2, 64, 64, generator=generator), torch.randn(2, 12, 64, 64, generator=generator)


@pytest.fixture
def bands(encoder: Smarties) -> fusion.BandLists:
    return encoder.bands(band_sets()["S1"]), encoder.bands(band_sets()["S2"])


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def test_stacking_is_one_image(encoder: Smarties, images: fusion.Images, bands: fusion.BandLists) -> None:
    found = fusion.stacked(encoder, images, bands)
    turned = fusion.stacked(encoder, (images[1], images[0]), (bands[1], bands[0]))
    assert found.shape == (2, 64)
    assert torch.allclose(found, turned, atol=1e-5)


def test_concatenation_keeps_the_order(encoder: Smarties, images: fusion.Images, bands: fusion.BandLists) -> None:
    found = fusion.concatenated(encoder, images, bands)
    assert torch.equal(found[:, :64], encoder(images[0], bands[0]).feature)
    assert torch.equal(found[:, 64:], encoder(images[1], bands[1]).feature)


def test_mixup_of_one_sensor_with_itself(encoder: Smarties, images: fusion.Images, bands: fusion.BandLists) -> None:
    # Exchanging equal tokens changes nothing.
    found = fusion.mixed(encoder, (images[0], images[0]), (bands[0], bands[0]), draw(2, 16))
    assert torch.allclose(found, encoder(images[0], bands[0]).feature.repeat(1, 2), atol=1e-5)


def test_a_seed_makes_the_mixup_reproducible(encoder: Smarties, images: fusion.Images, bands: fusion.BandLists) -> None:
    first, same, other = (fusion.seeded(encoder, images, bands, seed) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.allclose(first, other, atol=1e-3)


def test_the_complement_exchanges_the_streams(
    encoder: Smarties, images: fusion.Images, bands: fusion.BandLists
) -> None:
    noise = draw(2, 16, seed=3)
    complement = 1 - noise
    assert torch.equal(taken_from_first(complement), ~taken_from_first(noise))
    features, opposite = (fusion.mixed(encoder, images, bands, one) for one in (noise, complement))
    assert torch.allclose(opposite, torch.cat(features.chunk(2, 1)[::-1], 1), atol=1e-5)

    head = torch.nn.Linear(128, 3)
    found = fusion.averaged(lambda features: head(features).softmax(1), features)
    assert torch.allclose(found, (head(features).softmax(1) + head(opposite).softmax(1)) / 2, atol=1e-5)
    assert torch.allclose(fusion.averaged(head, opposite), fusion.averaged(head, features), atol=1e-5)
