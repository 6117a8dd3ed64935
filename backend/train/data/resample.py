"""Parts of images at another size: boxes that begin and end anywhere, averages where pixels get larger."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Box = tuple[float, float, float, float]  # left, top, right, bottom as shares of width and height, y downwards


class Part(NamedTuple):
    """Values ... x size x size float32, 0 where invalid, and validity of the same shape without channels."""

    values: np.ndarray
    valid: np.ndarray


def resampled(values: np.ndarray, valid: np.ndarray, box: Box, size: int) -> Part:
    """A part of a series of images, invalid pixels left out of every mean.

    Args:
        values: T x C x H x W.
        valid: T x H x W bool.
        box: the part.
        size: pixels per side of the result.

    Returns:
        T x C x size x size, and T x size x size: at least half of a pixel's weight is valid.
    """
    left, top, right, bottom = box
    rows, down = _used(axis_weights(values.shape[2], top, bottom, size))
    columns, across = _used(axis_weights(values.shape[3], left, right, size))
    weights = valid[:, down, across].astype(np.float32)
    share = rows @ weights @ columns.T
    total = rows @ (values[:, :, down, across] * weights[:, None]) @ columns.T
    there = share >= 0.5
    found = total / np.maximum(share, 1e-6)[:, None] * there[:, None]
    return Part(found.astype(np.float32), there)


def axis_weights(length: int, begin: float, end: float, size: int) -> np.ndarray:
    """Weights of the pixels of an axis for each pixel of a part: size x length float32, rows of sum 1.

    Triangles as wide as two pixels of the result, or of the image where these are larger: linear interpolation when
    enlarging, a weighted mean when shrinking.

    Args:
        length: pixels of the axis.
        begin, end: of the part, as shares of the axis.
        size: pixels of the result.
    """
    step = (end - begin) * length / size
    centres = begin * length + (np.arange(size) + 0.5) * step
    distance = np.abs(np.arange(length) + 0.5 - centres[:, None]) / max(1.0, step)
    weights = np.clip(1.0 - distance, 0.0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _used(weights: np.ndarray) -> tuple[np.ndarray, slice]:
    """The weights of those pixels of an axis that count for anything, and which these are."""
    counting = np.flatnonzero(weights.any(axis=0))
    span = slice(int(counting[0]), int(counting[-1]) + 1)
    return weights[:, span], span


def turned(part: Part, flip: bool, turns: int) -> Part:
    """Mirrored left to right where `flip`, then turned by quarters counter-clockwise."""
    values, valid = part
    if flip:
        values, valid = values[..., ::-1], valid[..., ::-1]
    axes = (-2, -1)
    return Part(np.ascontiguousarray(np.rot90(values, turns, axes)), np.ascontiguousarray(np.rot90(valid, turns, axes)))
