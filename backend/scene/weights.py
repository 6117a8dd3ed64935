"""Blending weights along one axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def blend_weights(size: int, window: int, starts: Sequence[int]) -> np.ndarray:
    """Strictly positive weights that sum to 1 over all windows at every pixel.

    A window's weight rises linearly from its edges over the overlap with its neighbour, where its prediction lacks
    context, and is 1 in between. A pixel's coordinate enters as its centre, so no weight is ever 0. Because every
    window that covers a wanted pixel is computed, the sum over windows is known beforehand and blending needs no
    division by accumulated weights.

    Args:
        size: pixels along the axis.
        window: pixels of a window.
        starts: ascending first pixels of the windows.

    Returns:
        (len(starts), window) float32.
    """
    overlaps = [a + window - b for a, b in zip(starts, starts[1:], strict=False)]
    ramp = max(1, min(overlaps, default=1))
    position = np.arange(window) + 0.5
    trapezoid = np.minimum(1.0, np.minimum(position, window - position) / ramp)
    total = np.zeros(max(size, window))
    for start in starts:
        total[start : start + window] += trapezoid
    return np.stack([trapezoid / total[start : start + window] for start in starts]).astype(np.float32)
