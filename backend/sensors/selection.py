"""Which dates of a series are used where a model takes fewer than there are (skysense-v2.md, 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

YEAR = 365
VALID_SCENE_CLASSES = frozenset({2, 4, 5, 6, 7})  # of Sentinel-2's scene classification: neither cloud, shadow nor snow
LEAST_VALID = 0.8  # of a tile's pixels


class Choice(NamedTuple):
    """Positions in the series, ascending; `cloudy` when none is clear enough, which deserves a warning."""

    indexes: tuple[int, ...]
    cloudy: bool


def valid_fraction(pixels: Mapping[int, int]) -> float:
    """Valid part of a tile, from its number of pixels per scene class; 0 for a tile without pixels."""
    whole = sum(pixels.values())
    return sum(count for name, count in pixels.items() if name in VALID_SCENE_CLASSES) / whole if whole else 0.0


def clear_dates(days: Sequence[int], valid: Sequence[float], most: int = 10, least: float = LEAST_VALID) -> Choice:
    """Optical dates: those that are clear; of too many, the clearest of each part of the year.

    Args:
        days: day of year per date, 1 to 366.
        valid: valid fraction of the tile per date.
        most: how many dates at most, and parts of the year.
        least: valid fraction of a clear date.

    Returns:
        The clear dates; if there is none, the clearest. Of equals the earlier in the series is preferred.
    """
    clear = [index for index, fraction in enumerate(valid) if fraction >= least]
    if not clear:
        best = max(range(len(valid)), key=valid.__getitem__, default=None)
        return Choice(() if best is None else (best,), True)
    if len(clear) <= most:
        return Choice(tuple(clear), False)
    parts: dict[int, int] = {}
    for index in clear:
        part = (min(days[index], YEAR) - 1) * most // YEAR
        if part not in parts or valid[index] > valid[parts[part]]:
            parts[part] = index
    return Choice(tuple(sorted(parts.values())), False)


def spread_dates(times: Sequence[float], most: int = 5) -> tuple[int, ...]:
    """Radar dates: `most` of them spread over the period.

    Args:
        times: of the dates on one axis, such as days since any origin.
        most: how many at most.

    Returns:
        Positions in the series, ascending: for each of equally spaced times the nearest date that is still free.
    """
    if len(times) <= most:
        return tuple(range(len(times)))
    first, last = min(times), max(times)
    free = set(range(len(times)))
    for step in range(most):
        wanted = first + (last - first) * (step / (most - 1) if most > 1 else 0.5)
        free.remove(min(sorted(free), key=lambda index: abs(times[index] - wanted)))
    return tuple(sorted(set(range(len(times))) - free))
