"""What a time-series model is told beside pixels: day of the year, and which dates are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

import numpy as np

from backend.tasks.inputs import SlotInput


def date_feeds(inputs: Sequence[SlotInput]) -> Callable[[int], dict[str, np.ndarray]]:
    """Makes the date inputs of a batch of a given size: (batch, dates) float32 by name of the model's input."""
    rows: dict[str, np.ndarray] = {}
    for item in inputs:
        if item.slot.days_input is not None:
            days = [date.fromisoformat(str(r.date)[:10]).timetuple().tm_yday for r in item.resolved]
            rows[item.slot.days_input] = np.asarray(days, np.float32)
        if item.slot.valid_input is not None:
            rows[item.slot.valid_input] = np.ones(len(item.resolved), np.float32)
        if item.slot.bands_input is not None:
            rows[item.slot.bands_input] = np.asarray(item.present, np.float32)
    return lambda batch: {name: np.tile(row, (batch, 1)) for name, row in rows.items()}
