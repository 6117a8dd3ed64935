"""Closed set of per-band operations that turn raw numbers into a model's input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Least linear backscatter before taking decibels: -60 dB, far below the noise floor of any SAR (about -30 dB).
LEAST_POWER = 1e-6


@dataclass(frozen=True)
class Linear:
    """y = x * scale + offset, one pair per band."""

    scale: tuple[float, ...]
    offset: tuple[float, ...]

    def apply(self, values: np.ndarray) -> None:
        """In place on (bands, H, W)."""
        values *= np.asarray(self.scale, np.float32)[:, None, None]
        if any(self.offset):
            values += np.asarray(self.offset, np.float32)[:, None, None]


@dataclass(frozen=True)
class Clip:
    """Limit each band to low..high."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def apply(self, values: np.ndarray) -> None:
        """In place on (bands, H, W)."""
        np.clip(values, np.asarray(self.low, np.float32)[:, None, None],
                np.asarray(self.high, np.float32)[:, None, None], out=values)


@dataclass(frozen=True)
class ToDecibel:
    """10 log10(x), for linear backscatter."""

    def apply(self, values: np.ndarray) -> None:
        """In place on (bands, H, W)."""
        np.maximum(values, LEAST_POWER, out=values)
        np.log10(values, out=values)
        values *= 10.0


@dataclass(frozen=True)
class FromDecibel:
    """10^(x / 10), back to linear backscatter."""

    def apply(self, values: np.ndarray) -> None:
        """In place on (bands, H, W)."""
        values *= 0.1
        np.power(np.float32(10.0), values, out=values)


@dataclass(frozen=True)
class Log1p:
    """ln(1 + x), negative x counting as 0."""

    def apply(self, values: np.ndarray) -> None:
        """In place on (bands, H, W)."""
        np.maximum(values, 0.0, out=values)
        np.log1p(values, out=values)


Operation = Linear | Clip | ToDecibel | FromDecibel | Log1p


def fold(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """The same chain with neighbouring linear operations merged, computed in double precision."""
    folded: list[Operation] = []
    for operation in operations:
        last = folded[-1] if folded else None
        if isinstance(operation, Linear) and isinstance(last, Linear):
            scale = tuple(a * b for a, b in zip(last.scale, operation.scale, strict=True))
            shifted = zip(last.offset, operation.scale, operation.offset, strict=True)
            folded[-1] = Linear(scale, tuple(o * s + p for o, s, p in shifted))
        else:
            folded.append(operation)
    return tuple(op for op in folded if not (isinstance(op, Linear) and set(op.scale) == {1.0} and set(op.offset) == {0.0}))


def normalise(values: np.ndarray, valid: np.ndarray, operations: Sequence[Operation], fill: float) -> None:
    """Apply a chain in place and put `fill` where a pixel is not valid.

    Args:
        values: (bands, H, W) float32.
        valid: (H, W) bool.
        operations: the chain, see `fold`.
        fill: model input that stands for "no data".
    """
    for operation in operations:
        operation.apply(values)
    if not valid.all():
        values[:, ~valid] = fill
