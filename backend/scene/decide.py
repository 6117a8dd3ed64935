"""From blended scores to what is written: classes, confidence, probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Probabilities are stored as 0..250; 255 means nodata. A byte per pixel keeps rasters small, and half a step, 0.002,
# lies far below what a model's probability means.
PROBABILITY_LEVELS = 250.0
NODATA = 255


@dataclass(frozen=True)
class ClassRule:
    """How scores become a class.

    Attributes:
        values: raster value of each class.
        threshold: for a single score channel, the least score of the second class.
        nodata: raster value where there is no result.
    """

    values: tuple[int, ...]
    threshold: float | None = None
    nodata: int = NODATA

    @property
    def channels(self) -> int:
        """Score channels that the rule expects."""
        return 1 if self.threshold is not None else len(self.values)


def decide(scores: np.ndarray, wanted: np.ndarray, rule: ClassRule) -> tuple[np.ndarray, np.ndarray]:
    """Class and the score that speaks for it.

    Args:
        scores: (channels, H, W) float32.
        wanted: (H, W) bool, False where the result is nodata.
        rule: how to read the scores.

    Returns:
        Classes (H, W) uint8 with the rule's nodata where not wanted, and best scores (H, W) float32.
    """
    if rule.threshold is not None:
        above = scores[0] >= rule.threshold
        index, best = above.view(np.uint8), np.where(above, scores[0], 1.0 - scores[0])
    elif len(scores) == 2:
        index, best = (scores[1] > scores[0]).view(np.uint8), np.maximum(scores[0], scores[1])
    else:
        index, best = np.zeros(scores.shape[1:], np.uint8), scores[0].copy()
        for channel in range(1, len(scores)):
            np.copyto(index, channel, where=scores[channel] > best)
            np.maximum(best, scores[channel], out=best)
    values = np.asarray(rule.values, np.uint8)
    classes = index if np.array_equal(values, np.arange(len(values))) else values[index]
    if not wanted.all():
        classes = np.where(wanted, classes, np.uint8(rule.nodata))
    return classes, best


def quantise(scores: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Probabilities as bytes: 0..250 for 0..1, 255 where not wanted; any leading shape over (H, W)."""
    levels = np.clip(scores, 0.0, 1.0)
    levels *= PROBABILITY_LEVELS
    levels += 0.5
    return np.where(wanted, levels.astype(np.uint8), np.uint8(NODATA))
