"""Adding window scores up to rows that are final."""

from __future__ import annotations

import numpy as np

from backend.scene.plan import Plan, Swath


class SwathBlender:
    """Weighted sum of the windows of one swath; holds one window's height of rows.

    Windows arrive strip by strip from top to bottom. Inside a strip their order does not matter beyond the last bit,
    since every pixel sums the same terms.

    Args:
        plan: the cut of the scene.
        swath: the swath to blend.
        channels: score channels of a window.
    """

    def __init__(self, plan: Plan, swath: Swath, channels: int) -> None:
        self._plan, self._swath = plan, swath
        self._sum = np.zeros((channels, plan.window, swath.reach - swath.origin), np.float32)
        self._plain_cols = {c: _run_of_ones(plan.cols.weights[c]) for c in swath.columns}

    def add(self, strip: int, column: int, scores: np.ndarray) -> None:
        """Add one window's scores, (channels, window, window) float32; the array is not kept."""
        row_weights = self._plan.rows.weights[strip][:, None]
        col_weights = self._plan.cols.weights[column]
        at = self._plan.cols.starts[column] - self._swath.origin
        target = self._sum[:, :, at : at + self._plan.window]
        rows, cols = _run_of_ones(self._plan.rows.weights[strip]), self._plain_cols[column]
        if rows.stop > rows.start and cols.stop > cols.start:
            # No other window reaches the middle of this one: nothing is there to add to.
            target[:, rows, cols] = scores[:, rows, cols]
            for edge in _around(rows, cols, self._plan.window):
                target[:, edge[0], edge[1]] += scores[:, edge[0], edge[1]] * (
                    row_weights[edge[0]] * col_weights[edge[1]]
                )
        else:
            target += scores * (row_weights * col_weights)

    def advance(self, rows: int) -> np.ndarray:
        """Take the first rows, which no later strip touches, and roll the rest up.

        Returns:
            (channels, rows, reach - origin) float32.
        """
        final = self._sum[:, :rows].copy()
        kept = self._plan.window - rows
        if kept > 0:
            self._sum[:, :kept] = self._sum[:, rows:].copy()
        self._sum[:, max(kept, 0) :] = 0.0
        return final


def _run_of_ones(weights: np.ndarray) -> slice:
    """The stretch of weights that are exactly 1, which is contiguous; empty where there is none."""
    ones = np.flatnonzero(weights == 1.0)
    return slice(int(ones[0]), int(ones[-1]) + 1) if ones.size else slice(0, 0)


def _around(rows: slice, cols: slice, window: int) -> list[tuple[slice, slice]]:
    """The frame around a block of a window, as four rectangles."""
    whole = slice(0, window)
    frame = [
        (slice(0, rows.start), whole),
        (slice(rows.stop, window), whole),
        (rows, slice(0, cols.start)),
        (rows, slice(cols.stop, window)),
    ]
    return [(r, c) for r, c in frame if r.stop > r.start and c.stop > c.start]
