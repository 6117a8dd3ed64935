"""Normalisation and resizing, the latter against scipy.ndimage as scikit-image calls it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from backend.models.encoders import smarties_resize
from backend.models.encoders.smarties_preprocess import BandStatistics, estimate, normalise, statistics, statistics_of
from backend.models.encoders.smarties_spectrum import band_sets, range_of
from backend.protocol.errors import ParameterError

SIZES = [
    (120, 120, 224, 224),
    (64, 64, 224, 224),
    (300, 257, 224, 224),
    (7, 5, 32, 16),
    (33, 20, 16, 48),
    (1, 9, 16, 16),
]


def test_every_table_names_known_ranges() -> None:
    counts = {name: (len(bands), sum(band.used for band in bands)) for name, bands in statistics().items()}
    assert counts == {
        "RGB": (3, 3),
        "SENTINEL2-L1C": (13, 12),
        "SENTINEL2-L2A": (12, 12),
        "SENTINEL1-GRD": (2, 2),
        "EuroSAT": (13, 12),
        "WHU-RS19": (3, 3),
        "UC-Merced": (3, 3),
        "RESISC45": (3, 3),
        "DFC2020": (14, 12),
    }
    for bands in statistics().values():
        for band in bands:
            # What enters the model has a projection.
            assert not band.used or range_of(band.key).index >= 0
            assert band.p1 < band.p99 and 0 < band.mean < 1 and 0 < band.std < 1


def test_tables_that_share_values() -> None:
    # The release's RGB table carries the mean and std of UC-Merced (section 3.1).
    rgb, merced = statistics_of("RGB"), statistics_of("UC-Merced")
    assert [(b.mean, b.std) for b in rgb] == [(b.mean, b.std) for b in merced]
    assert [b.p1 for b in rgb] != [b.p1 for b in merced]
    assert statistics_of("BigEarthNet-S2") is statistics_of("SENTINEL2-L2A")
    assert tuple(band.key for band in statistics_of("SENTINEL2-L2A")) == band_sets()["S2"]
    with pytest.raises(ParameterError, match="EuroSAT"):
        statistics_of("ImageNet")


def test_normalising_step_by_step() -> None:
    bands = [BandStatistics("red_1", True, 10, 110, 0.5, 0.25), BandStatistics("red_2", False, 0, 1, 0.5, 1)]
    raw = torch.tensor([[[[-5.0, 60, 500]], [[1, 2, 3]]]])
    assert normalise(raw, bands).tolist() == [[[[-2, 0, 2]]]]
    valid = torch.tensor([[[True, True, False]]])
    assert normalise(raw, bands, valid).tolist() == [[[[-2, 0, 0]]]]
    assert normalise(raw + 1000, bands, offset=-1000).tolist() == [[[[-2, 0, 2]]]]
    with pytest.raises(ParameterError, match="1 bands"):
        normalise(raw[:, :1], bands)


def test_sixteen_bit_input_is_normalised_as_numbers() -> None:
    bands = statistics_of("SENTINEL2-L2A")
    raw = torch.randint(0, 12000, (1, 12, 4, 4), generator=torch.Generator().manual_seed(0))
    assert torch.equal(normalise(raw.to(torch.int32), bands), normalise(raw.double(), bands))


def test_estimated_statistics_standardise() -> None:
    generator = np.random.default_rng(0)
    values = generator.gamma(2.0, 500.0, (2, 100, 100))
    valid = generator.random((100, 100)) > 0.2
    values[:, ~valid] = -1e9
    bands = estimate(values, valid, ("red_1", "green_1"))
    assert [band.p1 for band in bands] == pytest.approx([np.percentile(band[valid], 1) for band in values])
    found = normalise(torch.from_numpy(values)[None], bands)[0].numpy()[:, valid]
    assert found.mean(1) == pytest.approx([0, 0], abs=1e-5) and found.std(1) == pytest.approx([1, 1], abs=1e-5)
    for nothing in (np.zeros_like(valid), valid):
        with pytest.raises(ParameterError, match="red_1"):
            estimate(np.ones((1, 100, 100)), nothing, ("red_1",))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kind", "order"), [(smarties_resize.CUBIC, 3), (smarties_resize.LINEAR, 1)])
def test_exact_resizing(size: tuple[int, int, int, int], kind: str, order: int) -> None:
    height, width, target_height, target_width = size
    image = np.random.default_rng(1).normal(size=(2, height, width)).astype(np.float32)
    factors = np.array([height / target_height, width / target_width])
    expected = []
    for band in image:
        # skimage.transform.resize: "reflect" is scipy's "mirror".
        smooth = ndimage.gaussian_filter(band, np.maximum(0, (factors - 1) / 2), mode="mirror")
        expected.append(ndimage.zoom(smooth, 1 / factors, order=order, mode="mirror", grid_mode=True))
    clipped = np.clip(np.stack(expected), image.min(), image.max())
    found = smarties_resize.resize(torch.from_numpy(image)[None], target_height, target_width, kind)
    assert found.dtype == torch.float32
    assert np.allclose(found[0], clipped, atol=1e-5)


@pytest.mark.parametrize("kind", smarties_resize.KINDS)
def test_resizing_keeps_constants_and_samples_apart(kind: str) -> None:
    image = torch.stack([torch.full((2, 50, 40), 3.0), torch.randn(2, 50, 40)])
    found = smarties_resize.resize(image, 32, 64, kind)
    assert torch.allclose(found[0], torch.tensor(3.0), atol=1e-5)
    assert torch.allclose(found[1], smarties_resize.resize(image[1:], 32, 64, kind)[0], atol=1e-6)
    assert float(found.min()) >= float(image.min()) and float(found.max()) <= float(image.max())


def test_the_same_size_changes_nothing() -> None:
    image = torch.randn(1, 1, 20, 30)
    for kind in smarties_resize.KINDS:
        assert torch.allclose(smarties_resize.resize(image, 20, 30, kind), image, atol=1e-5)


def test_unknown_resizing() -> None:
    with pytest.raises(ParameterError, match="nearest"):
        smarties_resize.resize(torch.zeros(1, 1, 4, 4), 2, 2, "nearest")
