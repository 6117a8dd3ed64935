"""From the classes of two dates to what is written of their comparison."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backend.scene.decide import ClassRule, decide, quantise

UNCHANGED = 0
MOST_CLASSES = 15  # 15 x 14 transitions and "unchanged" fit into a byte beside nodata


def transition_value(before: int, after: int, classes: int) -> int:
    """Raster value of a change from one class to another, both as positions among `classes`, 1 to classes^2."""
    return UNCHANGED if before == after else before * classes + after + 1


@dataclass(frozen=True)
class TransitionOutput:
    """What is written of a comparison of classes; see `backend.scene.finish.ResultKind`.

    The class of each date is decided by itself, from its own blended scores. Confidence is the probability of the pair
    that was decided, the dates taken as independent. The probability of change is 1 - sum over the classes c of
    p_before(c) p_after(c) (skysense-v2.md, 11.4); it needs scores that sum to 1.

    Attributes:
        rule: how the scores of one date become classes; its values are not used.
        nodata: raster value where there is no result.
        classes: layer name of the raster of transitions.
        confidence: layer name of the confidence raster, None for none.
        probabilities: layer name of the raster of the probability of change, None for none.
    """

    rule: ClassRule
    nodata: int
    classes: str
    confidence: str | None = None
    probabilities: str | None = None

    @property
    def channels(self) -> int:
        """Score channels of both dates."""
        return 2 * self.rule.channels

    def layers(self, scores: np.ndarray, wanted: np.ndarray) -> dict[str, np.ndarray]:
        """Blended scores (channels of before, then of after, H, W) as arrays to write, (bands, H, W) by layer name."""
        half, count = self.rule.channels, len(self.rule.values)
        positions = ClassRule(tuple(range(count)), self.rule.threshold, count)
        before, sure = decide(scores[:half], wanted, positions)
        after, as_sure = decide(scores[half:], wanted, positions)
        # In 16 bits: where there is no result, both are `count`, which no byte may hold.
        pairs = before.astype(np.uint16) * count + after + 1
        values = np.where(before == after, np.uint16(UNCHANGED), pairs)
        arrays = {self.classes: np.where(wanted, values, np.uint16(self.nodata)).astype(np.uint8)[None]}
        if self.confidence:
            arrays[self.confidence] = quantise(sure * as_sure, wanted)[None]
        if self.probabilities:
            arrays[self.probabilities] = quantise(1.0 - self._same(scores[:half], scores[half:]), wanted)[None]
        return arrays

    def _same(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Probability (H, W) that independent draws from both dates' probabilities agree."""
        agree = (before * after).sum(axis=0)
        if self.rule.threshold is not None:  # one channel: the other class is what remains
            agree = agree + ((1.0 - before) * (1.0 - after)).sum(axis=0)
        return np.asarray(agree)
