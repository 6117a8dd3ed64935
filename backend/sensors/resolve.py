"""From an input as the user gave it to the bands that a model needs, in its order and unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from backend.protocol.jobs import InputSpec

if TYPE_CHECKING:
    from backend.geo.source import Source


class Need(Protocol):
    """A band that a model package asks for."""

    @property
    def name(self) -> str: ...
    @property
    def center_nm(self) -> float | None: ...
    @property
    def width_nm(self) -> float | None: ...
    @property
    def polarisation(self) -> str | None: ...


@dataclass(frozen=True)
class Conversion:
    """From stored numbers to the model's unit: `(number + offset) * scale`, then `log`.

    Attributes:
        offset: added to the stored number.
        scale: factor after the offset was added.
        log: "", "to_db" (10 log10), "to_linear" (its inverse), "amplitude_to_db" (20 log10) or "amplitude_to_linear" (square).
    """

    offset: float = 0.0
    scale: float = 1.0
    log: str = ""

    def apply(self, numbers: np.ndarray) -> np.ndarray:
        """Physical values of stored numbers, float32, any shape; NaN where a value has no logarithm."""
        values = (numbers.astype(np.float32) + np.float32(self.offset)) * np.float32(self.scale)
        if self.log in ("to_db", "amplitude_to_db"):
            factor = np.float32(10.0 if self.log == "to_db" else 20.0)
            return np.asarray(factor * np.log10(np.where(values > 0, values, np.nan)), dtype=np.float32)
        if self.log == "to_linear":
            return np.asarray(np.power(np.float32(10.0), values / np.float32(10.0)), dtype=np.float32)
        if self.log == "amplitude_to_linear":
            return values * values
        return values


@dataclass(frozen=True)
class ResolvedInput:
    """One modality at one date, ready to be read.

    Attributes:
        source: where the bands are, in the order of the model.
        conversions: one per band of the source.
        sensor: catalogue name of the sensor, None when it is not known.
        date: acquisition date, ISO 8601, None when it is not known.
        warnings: what the user should know before trusting the result.
    """

    source: Source
    conversions: tuple[Conversion, ...]
    sensor: str | None
    date: str | None
    warnings: tuple[str, ...] = ()


def resolve(spec: InputSpec, needed: Sequence[Need], unit: str) -> ResolvedInput:
    """The bands that a model needs, in its order, with their conversion to `unit`.

    Args:
        spec: the input as the user gave it.
        needed: bands in the model's order.
        unit: "reflectance", "db", "linear", "radiance", "kelvin", "index" or "dn" (numbers as stored).

    Raises:
        ParameterError: an option of the input does not fit the file.
        SourceError: the file cannot be used.
        InputError: a band is missing, or metadata leaves something open that an option must decide.
    """
    raise NotImplementedError
