"""Fitting on generated chips: it learns, repeats, and copes with missing data; what it gives can be packed."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.protocol.errors import OutputError
from backend.runtime.model import open_model
from backend.runtime.verify import verify
from backend.train.__main__ import main
from backend.train.data.kit import IGNORE, Chip
from backend.train.evaluate.segmentation import counts, iou
from backend.train.fit import Crops, FitConfig, fit, learning_rate, predict, statistics
from backend.train.recipes import water_package

CONFIG = FitConfig(steps=20, batch=4, crop=48, gain=0.1, material=0.1, haze=0.01, seed=5)
BANDS = 6


def chip(seed: int) -> Chip:
    """Discs of water, dark in the infrared, on bright land; a corner without data."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:96, 0:96]
    label = np.zeros((96, 96), np.int64)
    for row, column, radius in random.integers((10, 10, 8), (86, 86, 25), (4, 3)):
        label[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = 1
    low, high = water_package.SPECTRA["s2"]
    image = np.where(label == 1, low[:, None, None], high[:, None, None])
    image = (image + random.normal(0, 0.01, image.shape)).astype(np.float32)
    image[:, :10, :10] = np.nan
    label[:10, :10] = IGNORE
    return Chip(f"chip {seed}", "", image, label)


@pytest.fixture(scope="module")
def fitted() -> tuple[torch.nn.Module, dict[str, object]]:
    chips = [chip(0), chip(1)]
    mean, std = statistics(chips)
    parameters: dict[str, object] = {"input_name": "image", "mean": mean, "std": std, "width": 4, "ratios": [1, 3]}
    return fit("baseline", parameters, chips, CONFIG), parameters


def test_twenty_steps_learn_discs(fitted: tuple[torch.nn.Module, dict[str, object]]) -> None:
    unseen = chip(2)
    assert iou(counts(predict(fitted[0], unseen.image, 0.0), unseen.label)) > 0.8


def test_the_same_seed_gives_the_same_network(fitted: tuple[torch.nn.Module, dict[str, object]]) -> None:
    again = fit("baseline", fitted[1], [chip(0), chip(1)], CONFIG)
    for name, tensor in fitted[0].state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=0, atol=1e-5)


def test_crops_hold_no_missing_values() -> None:
    crops = Crops([chip(0)], replace(CONFIG, hole=1.0, fill=-3.0))
    images, labels = crops.batch()
    assert images.isfinite().all()
    assert (images.shape, labels.shape) == ((4, BANDS, 48, 48), (4, 48, 48))
    assert (labels == IGNORE).any()
    assert (images.movedim(1, -1)[labels == IGNORE] == -3.0).all()


def test_statistics_leave_missing_pixels_out() -> None:
    image = np.full((1, 4, 4), 2.0, np.float32)
    image[0, 0] = np.nan
    assert statistics([Chip("", "", image, np.zeros((4, 4), np.int64))]) == ([2.0], [0.0])


def test_learning_rate_rises_then_falls_to_zero() -> None:
    config = FitConfig(steps=100, rate=1.0)
    rates = [learning_rate(step, config) for step in range(100)]
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[-1] < 0.01


def test_prediction_of_any_size(fitted: tuple[torch.nn.Module, dict[str, object]]) -> None:
    for size in ((17, 33), (96, 8)):
        image = chip(3).image[:, : size[0], : size[1]]
        assert predict(fitted[0], image, 0.0).shape == size


def test_package_of_a_fitted_network(fitted: tuple[torch.nn.Module, dict[str, object]], tmp_path: Path) -> None:
    scores = {"protocol, IoU": {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6}, "per chip, IoU": {"a": 0.5}}
    package = water_package.pack("s2", *fitted, CONFIG, scores, tmp_path)
    assert all(check.ok for check in verify(package) if check.precision == "fp32")
    assert "0.500 (0.400-0.600)" in package.path("README.md").read_text(encoding="utf-8")
    with open_model([package]) as model:
        window = np.pad(np.nan_to_num(chip(4).image), ((0, 0), (0, 416), (0, 416)))
        classes = model.run({"image": window[None].astype(np.float32)})[0][0, :, :64, :64].argmax(axis=0)
    np.testing.assert_array_equal(classes, predict(fitted[0], window, 0.0)[:64, :64])
    with pytest.raises(OutputError, match="exists"):
        water_package.pack("s2", *fitted, CONFIG, scores, tmp_path)


def test_command_line_says_what_is_wrong(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert main(["water_baseline", "--data", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
        assert main(["water_baseline", "--data", str(tmp_path), "--output", str(tmp_path), "--sensor", "x"]) == 2
    assert "splits.csv" in caplog.text
    assert not (tmp_path / "out").exists()
