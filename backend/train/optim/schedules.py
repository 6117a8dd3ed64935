"""Values that change over a run, as pure functions of its progress."""

from __future__ import annotations

import math
from dataclasses import dataclass

from backend.train.objectives.objective import Progress


def warm_cosine(progress: Progress, highest: float, lowest: float, warm_up: int) -> float:
    """A linear rise to `highest` over the first `warm_up` steps, then half a cosine to `lowest` at the last step.

    Args:
        progress: the step that is about to be done.
        highest, lowest: values at the end of the rise and of the run.
        warm_up: steps of the rise; 0 for none.
    """
    if progress.step < warm_up:
        return highest * (progress.step + 1) / warm_up
    share = (progress.step - warm_up) / max(1, progress.steps - 1 - warm_up)
    return cosine(share, highest, lowest)


def cosine(share: float, first: float, last: float) -> float:
    """Half a cosine from `first` at share 0 to `last` at share 1."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, share))))


@dataclass(frozen=True)
class OptimConfig:
    """AdamW (Loshchilov and Hutter 2019) and its schedules; the defaults are SkySense V2's (skysense-v2.md, 10.6).

    Attributes:
        rate: highest learning rate.
        last_rate: learning rate of the last step.
        warm_up: steps of the linear rise.
        betas: of the moments.
        decay, last_decay: weight decay at the begin and at the end, along half a cosine.
        clip: largest norm of all gradients together; 0 for any.
        layer_decay: factor of the learning rate per layer below the head; 1 for none (skysense-v2.md, 11.2).
    """

    rate: float = 2e-4
    last_rate: float = 1e-6
    warm_up: int = 10_000
    betas: tuple[float, float] = (0.9, 0.999)
    decay: float = 0.04
    last_decay: float = 0.2
    clip: float = 3.0
    layer_decay: float = 1.0

    def rate_at(self, progress: Progress) -> float:
        """Learning rate of a step."""
        return warm_cosine(progress, self.rate, self.last_rate, self.warm_up)

    def decay_at(self, progress: Progress) -> float:
        """Weight decay of a step."""
        return cosine(progress.step / max(1, progress.steps - 1), self.decay, self.last_decay)
