"""What a model is told beside pixels: day of the year of each date, which dates and which bands are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

import numpy as np

from backend.scene.strips import Feed
from backend.tasks.inputs import SlotInput

NO_DAY = 0.0  # of a raster without a date


def companion_feeds(inputs: Sequence[SlotInput], feeds: Sequence[Feed]) -> Callable[[int], dict[str, np.ndarray]]:
    """Makes the inputs that are the same for every window: (batch, dates or bands) float32 by the model's name.

    Args:
        inputs: the model's inputs.
        feeds: what the pipeline reads for each; where it reads validity itself, none is made here.
    """
    rows: dict[str, np.ndarray] = {}
    for item, feed in zip(inputs, feeds, strict=True):
        if item.slot.days_input is not None:
            rows[item.slot.days_input] = np.asarray([_day(r.date) for r in item.resolved], np.float32)
        if item.slot.valid_input is not None and feed.valid_name is None:
            rows[item.slot.valid_input] = np.ones(len(item.resolved), np.float32)
        if item.slot.bands_input is not None:
            rows[item.slot.bands_input] = np.asarray(item.present, np.float32)
    return lambda batch: {name: np.tile(row, (batch, 1)) for name, row in rows.items()}


def _day(acquired: str | None) -> float:
    """Day of the year, from 1."""
    return NO_DAY if acquired is None else float(date.fromisoformat(acquired[:10]).timetuple().tm_yday)
