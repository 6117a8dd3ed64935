"""Sampling of a raster at pixel coordinates: a box as wide as the target pixel, at least one raster pixel.

When shrinking this is the area-weighted average; when enlarging, a box of one pixel is bilinear interpolation. Weights
of invalid pixels count as 0 and the rest is renormalised. Everything is elementwise, so that a pixel gets the same
bits whatever the window it is computed in.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backend.geo.warp import Floats

Values = NDArray[np.float32]
Mask = NDArray[np.bool_]
Indexes = NDArray[np.intp]

# Coordinates closer than this to a pixel border, as it comes from rounding, count as being right of it.
BORDER_TOLERANCE = 1e-6
# Rows computed at once: small enough that all arrays of a strip 2048 px wide stay in the processor's cache.
_ROWS = 32


def nearest(centres: Floats) -> Indexes:
    """The pixel in which each coordinate lies (n)."""
    return np.floor(centres + BORDER_TOLERANCE).astype(np.intp)


def taps(centres: Floats, width: float) -> tuple[Indexes, list[Values]]:
    """First pixel under each box and the weights of that pixel and its successors.

    Args:
        centres: pixel coordinates, any shape.
        width: of the box, in pixels, at least 1.
    """
    low = centres - width / 2
    start = np.floor(low)
    count = int(np.ceil(width - BORDER_TOLERANCE)) + 1
    into = low - start
    weights = [np.clip(np.minimum(k + 1, into + width) - np.maximum(k, into), 0.0, None) for k in range(count)]
    return start.astype(np.intp), [(weight / width).astype(np.float32) for weight in weights]


def sample_axes(
    values: Values, valid: Mask | None, cols: Floats, rows: Floats, widths: tuple[float, float]
) -> tuple[Values, Mask | None]:
    """Samples at the crossings of columns and rows.

    Args:
        values: (B, h, w), 0 where invalid.
        valid: (h, w); None when everything is.
        cols, rows: pixel coordinates (W) and (H) in `values`; all taps must lie inside it.
        widths: of the box along columns and rows.

    Returns:
        Values (B, H, W) and validity (H, W), None when everything is valid.
    """
    col_taps, row_taps = taps(cols, widths[0]), taps(rows, widths[1])
    if valid is None:
        return _along(_along(values, col_taps, 2), row_taps, 1), None
    weights = valid[None].astype(np.float32)
    total = _along(_along(values, col_taps, 2), row_taps, 1)
    weight = _along(_along(weights, col_taps, 2), row_taps, 1)[0]
    inside = valid[nearest(rows)[:, None], nearest(cols)[None, :]]
    return _normalised(total, weight, inside), inside


def sample_points(
    values: Values, valid: Mask | None, cols: Floats, rows: Floats, widths: tuple[float, float]
) -> tuple[Values, Mask | None]:
    """Samples at points.

    Args:
        values: (B, h, w), 0 where invalid.
        valid: (h, w); None when everything is.
        cols, rows: pixel coordinates (H, W) in `values`; all taps must lie inside it.
        widths: of the box along columns and rows.

    Returns:
        Values (B, H, W) and validity (H, W), None when everything is valid.
    """
    result = np.empty((len(values), *cols.shape), np.float32)
    inside = None if valid is None else np.empty(cols.shape, np.bool_)
    flat = values.reshape(len(values), -1)
    flat_valid = None if valid is None else valid.ravel()
    weights = None if flat_valid is None else flat_valid.astype(np.float32)
    for row in range(0, len(cols), _ROWS):
        part = slice(row, row + _ROWS)
        targets = _point_taps(cols[part], rows[part], widths, values.shape[2])
        for band, plane in enumerate(flat):
            result[band, part] = _weighted(plane, targets, renormalise=weights is None)
        if weights is not None and flat_valid is not None and inside is not None:
            weight = _weighted(weights, targets, renormalise=False)
            inside[part] = flat_valid[nearest(rows[part]) * values.shape[2] + nearest(cols[part])]
            result[:, part] = _normalised(result[:, part], weight, inside[part])
    return result, inside


def pick_points(values: NDArray[np.generic], cols: Floats, rows: Floats) -> NDArray[np.generic]:
    """Nearest pixels of (B, h, w) at points (H, W): (B, H, W)."""
    return values[:, nearest(rows), nearest(cols)]


def _along(values: Values, axis_taps: tuple[Indexes, list[Values]], axis: int) -> Values:
    """Weighted sum along an axis; as differences to the first pixel, which keeps constants exact."""
    start, weights = axis_taps
    first = values.take(start, axis=axis)
    total = first
    for k, weight in enumerate(weights[1:], 1):
        step = values.take(start + k, axis=axis)
        step -= first
        step *= weight[:, None] if axis == 1 else weight
        total = np.add(total, step, out=None if total is first else total)
    return total


def _point_taps(cols: Floats, rows: Floats, widths: tuple[float, float], stride: int) -> list[tuple[Indexes, Values]]:
    """Flat pixel numbers and weights of every pixel under the boxes."""
    col_start, col_weights = taps(cols, widths[0])
    row_start, row_weights = taps(rows, widths[1])
    origin = row_start * stride + col_start
    return [
        (origin + (j * stride + i), row_weight * col_weight)
        for j, row_weight in enumerate(row_weights)
        for i, col_weight in enumerate(col_weights)
    ]


def _weighted(plane: Values, targets: list[tuple[Indexes, Values]], renormalise: bool) -> Values:
    """Weighted sum of pixels; as differences to the first pixel when weights sum to 1, which keeps constants exact."""
    first = plane.take(targets[0][0])
    total = first.copy() if renormalise else first * targets[0][1]
    for index, weight in targets[1:]:
        step = plane.take(index)
        if renormalise:
            step -= first
        step *= weight
        total += step
    return total


def _normalised(total: Values, weight: Values, inside: Mask) -> Values:
    """Sums divided by their weights; 0 outside."""
    with np.errstate(divide="ignore", invalid="ignore"):
        total = total / weight
    total[:, ~inside] = 0.0
    return total
