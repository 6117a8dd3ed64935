"""The jitter of dates in training (skysense-v2.md, 8)."""

from __future__ import annotations

import torch
from torch import Tensor

YEAR = 365


def jitter_days(days: Tensor, reach: int = 15, generator: torch.Generator | None = None) -> Tensor:
    """Days of year moved by up to `reach` days each, past the end of the year to its start; 0 (no date) stays.

    Args:
        days: int64 of any shape, 0 to 366.
        reach: in days.
        generator: of the random moves, on the device of `days`.
    """
    moves = torch.randint(-reach, reach + 1, days.shape, generator=generator, device=days.device)
    return torch.where(days > 0, (days.clamp(max=YEAR) - 1 + moves) % YEAR + 1, days)
