"""Closed set of per-band operations that turn raw numbers into a model's input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PerBand = tuple[float, ...]  # one value for all bands, or one per band


def _column(values: PerBand) -> np.ndarray:
    return np.asarray(values, np.float32).reshape(-1, 1, 1)


@dataclass(frozen=True)
class Linear:
    """y = x * scale + offset."""

    scale: PerBand
    offset: PerBand

    def apply(self, values: np.ndarray) -> None:
        """In place on (bands, H, W)."""
        values *= _column(self.scale)
        if any(self.offset):
            values += _column(self.offset)


@dataclass(frozen=True)
class Clip:
    """Limit to low..high."""

    low: PerBand
    high: PerBand

    def apply(self, values: np.ndarray) -> None:
        """In place on (bands, H, W)."""
        np.clip(values, _column(self.low), _column(self.high), out=values)


@dataclass(frozen=True)
class Decibel:
    """10 log10(max(x, floor)); without a floor, what has no logarithm becomes NaN and so invalid."""

    floor: PerBand | None = None

    def apply(self, values: np.ndarray) -> None:
        """In place on (bands, H, W)."""
        if self.floor is None:
            values[values <= 0] = np.nan
        else:
            np.maximum(values, _column(self.floor), out=values)
        np.log10(values, out=values)
        values *= 10.0


@dataclass(frozen=True)
class FromDecibel:
    """10^(x / 10), linear backscatter."""

    def apply(self, values: np.ndarray) -> None:
        """In place on (bands, H, W)."""
        values *= 0.1
        np.power(np.float32(10.0), values, out=values)


@dataclass(frozen=True)
class Square:
    """x², backscatter from its amplitude."""

    def apply(self, values: np.ndarray) -> None:
        """In place on (bands, H, W)."""
        np.square(values, out=values)


@dataclass(frozen=True)
class Log1p:
    """ln(1 + max(x, 0))."""

    def apply(self, values: np.ndarray) -> None:
        """In place on (bands, H, W)."""
        np.maximum(values, 0.0, out=values)
        np.log1p(values, out=values)


Operation = Linear | Clip | Decibel | FromDecibel | Square | Log1p


def fold(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """The same chain, neighbouring linear operations merged in double precision, those that do nothing left out."""
    folded: list[Operation] = []
    for operation in operations:
        last = folded[-1] if folded else None
        if isinstance(operation, Linear) and isinstance(last, Linear):
            operation = _merged(folded.pop(), operation)
        folded.append(operation)
    return tuple(
        op for op in folded if not (isinstance(op, Linear) and set(op.scale) == {1.0} and set(op.offset) == {0.0})
    )


def _merged(first: Operation, second: Linear) -> Linear:
    assert isinstance(first, Linear)
    scale = np.multiply(first.scale, second.scale)
    offset = np.add(np.multiply(first.offset, second.scale), second.offset)
    return Linear(tuple(np.atleast_1d(scale).tolist()), tuple(np.atleast_1d(offset).tolist()))


def normalise(values: np.ndarray, valid: np.ndarray, operations: Sequence[Operation], fill: float) -> None:
    """Apply a chain in place; what has no finite result becomes invalid, and invalid pixels get the fill value.

    Args:
        values: (bands, H, W) float32.
        valid: (H, W) bool, changed in place.
        operations: the chain, see `fold`.
        fill: model input that stands for "no data".
    """
    for operation in operations:
        operation.apply(values)
    if any(isinstance(operation, Decibel | FromDecibel) for operation in operations):
        valid &= np.isfinite(values).all(axis=0)
    if not valid.all():
        values[:, ~valid] = fill
