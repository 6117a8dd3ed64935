"""Fits a segmentation network to labelled chips: a plain loop, on one CPU, repeatable from its seed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.models.load import initialise
from backend.models.registry import build
from backend.train.data.kit import IGNORE, Chip

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitConfig:
    """How a network is fitted.

    Attributes:
        steps: optimiser steps.
        batch: crops per step.
        crop: side of a crop in pixels.
        rate: highest learning rate; warms up over a tenth of the steps, then falls as a cosine.
        decay: weight decay of AdamW (Loshchilov and Hutter 2019).
        gain: standard deviation of the logarithm of a factor per image, and half of it per band, for reflectance.
        material: standard deviation of the logarithm of a factor for the pixels of one class of a crop, and half of it
            per band, so that water and land of other colours than those of the few training images are seen.
        haze: largest value added to every band, falling towards longer wavelengths, for reflectance.
        shift: standard deviation of a value added per image to all bands, and half of it per band, for decibel.
        hole: share of crops with a rectangle of missing data.
        fill: value of missing data.
        seed: of initial values and of everything drawn.
    """

    steps: int = 300
    batch: int = 8
    crop: int = 128
    rate: float = 3e-3
    decay: float = 1e-2
    gain: float = 0.0
    material: float = 0.0
    haze: float = 0.0
    shift: float = 0.0
    hole: float = 0.2
    fill: float = 0.0
    seed: int = 0


def statistics(chips: Sequence[Chip]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per band over the valid pixels of the chips; every chip counts the same."""
    means = np.array([np.nanmean(chip.image, axis=(1, 2)) for chip in chips])
    variances = np.array([np.nanvar(chip.image, axis=(1, 2)) for chip in chips])
    std = np.sqrt(variances.mean(axis=0) + means.var(axis=0))
    return [round(float(value), 5) for value in means.mean(axis=0)], [round(float(value), 5) for value in std]


class Crops:
    """Draws augmented crops: any place, flipped and turned, radiometry disturbed, sometimes with a hole."""

    def __init__(self, chips: Sequence[Chip], config: FitConfig) -> None:
        self.chips, self.config = chips, config
        self.random = np.random.default_rng(config.seed)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Images B x C x crop x crop and labels B x crop x crop."""
        pairs = [self._crop() for _ in range(self.config.batch)]
        images = torch.from_numpy(np.stack([image for image, _ in pairs]))
        return images, torch.from_numpy(np.stack([label for _, label in pairs]))

    def _crop(self) -> tuple[np.ndarray, np.ndarray]:
        chip = self.chips[int(self.random.integers(len(self.chips)))]
        size = self.config.crop
        row, column = (int(self.random.integers(0, length - size + 1)) for length in chip.label.shape)
        label = chip.label[row : row + size, column : column + size].copy()
        image = self._disturb(chip.image[:, row : row + size, column : column + size], label)
        missing = ~np.isfinite(image).all(axis=0)
        if self.random.random() < self.config.hole:
            top, left, height, width = self.random.integers(0, size, 4)
            missing[top : top + height, left : left + width] = True
        image[:, missing] = self.config.fill
        label[missing] = IGNORE
        turns, flip = int(self.random.integers(4)), bool(self.random.integers(2))
        image, label = np.rot90(image, turns, (1, 2)), np.rot90(label, turns)
        if flip:
            image, label = image[:, :, ::-1], label[:, ::-1]
        return np.ascontiguousarray(image, dtype=np.float32), np.ascontiguousarray(label)

    def _disturb(self, image: np.ndarray, label: np.ndarray) -> np.ndarray:
        bands = image.shape[0]
        config, normal = self.config, self.random.normal
        gain = np.exp(config.gain * (normal(0, 1, 1) + 0.5 * normal(0, 1, bands)))
        haze = config.haze * self.random.random() * np.linspace(1, 0, bands)
        shift = config.shift * (normal(0, 1, 1) + 0.5 * normal(0, 1, bands))
        changed = image * gain[:, None, None] + (haze + shift)[:, None, None]
        if config.material:
            factors = np.exp(config.material * (normal(0, 1, (2, 1)) + 0.5 * normal(0, 1, (2, bands))))
            changed = changed * factors[(label == 1).astype(int)].transpose(2, 0, 1)
        return np.asarray(changed, dtype=np.float32)


def learning_rate(step: int, config: FitConfig) -> float:
    """Linear warm-up over the first tenth, then half a cosine to zero."""
    warm = max(1, config.steps // 10)
    if step < warm:
        return config.rate * (step + 1) / warm
    return config.rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, config.steps - warm)))


def fit(architecture: str, parameters: dict[str, object], chips: Sequence[Chip], config: FitConfig) -> nn.Module:
    """Trains an architecture that has `logits(image)`; cross-entropy over the valid pixels.

    Returns:
        the network in evaluation mode.
    """
    torch.set_flush_denormal(True)  # once the fit is good, gradients are so small that the processor slows down
    network = initialise(build(architecture, parameters, device="meta"), seed=config.seed).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.rate, weight_decay=config.decay)
    crops = Crops(chips, config)
    start = time.perf_counter()
    for step in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, config)
        images, labels = crops.batch()
        loss = functional.cross_entropy(network.logits(images), labels, ignore_index=IGNORE)  # type: ignore[operator]
        if not torch.isfinite(loss):  # a batch of holes only
            continue
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        if step % 50 == 0 or step == config.steps - 1:
            LOG.info("step %d loss %.4f, %.0f s", step, loss.item(), time.perf_counter() - start)
    return network.eval()


@torch.inference_mode()
def predict(network: nn.Module, image: np.ndarray, fill: float, multiple: int = 8) -> np.ndarray:
    """Class of every pixel of an image (bands x H x W, NaN where there is no data): H x W int64.

    The image is padded by reflection to a multiple of the network's stride and computed in one piece.
    """
    rows, columns = image.shape[1:]
    padding = ((0, 0), (0, -rows % multiple), (0, -columns % multiple))
    missing = ~np.isfinite(image).all(axis=0)
    filled = np.where(missing, np.float32(fill), image)
    padded = torch.from_numpy(np.pad(filled, padding, mode="reflect").astype(np.float32))
    scores = network.logits(padded[None])  # type: ignore[operator]
    return np.asarray(scores[0, :, :rows, :columns].argmax(dim=0).numpy())
