"""The closed list of normalisation steps: what each needs, and what it does to physical values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from backend.manifest.package import Step
from backend.protocol.errors import PackageError

# Parameters of each operation; every one is needed.
PARAMETERS: dict[str, tuple[str, ...]] = {
    "clip": ("minimum", "maximum"),  # min(max(x, minimum), maximum)
    "rescale": ("minimum", "maximum"),  # (x - minimum) / (maximum - minimum), not clipped
    "standardise": ("mean", "std"),  # (x - mean) / std
    "scale": ("factor", "offset"),  # x * factor + offset
    "log1p": (),  # ln(1 + max(x, 0))
    "db": ("floor",),  # 10 log10(max(x, floor)), floor > 0
}

Array = NDArray[np.float32]
_Operation = Callable[[Array], None]


def parameters(step: Step) -> dict[str, tuple[float, ...]]:
    """The step's parameters by name, in the order of `PARAMETERS`."""
    return {name: getattr(step, name) for name in PARAMETERS[step.op]}


def check(step: Step, bands: int) -> None:
    """Raise PackageError unless the step has exactly its parameters, for one or all of `bands`, with usable values."""
    if step.op not in PARAMETERS:
        raise PackageError(f'the step "{step.op}" is not known', f"the list is closed: {', '.join(PARAMETERS)}")
    given = {name for name in ("minimum", "maximum", "mean", "std", "factor", "offset", "floor") if getattr(step, name)}
    if given != set(PARAMETERS[step.op]):
        raise PackageError(
            f'the step "{step.op}" has the wrong parameters',
            f"it takes {_listed(PARAMETERS[step.op])}, not {_listed(sorted(given))}",
        )
    for name, values in parameters(step).items():
        if len(values) not in (1, bands):
            raise PackageError(f'the step "{step.op}" has {len(values)} values of {name}', f"there are {bands} bands")
    _check_values(step)


def _check_values(step: Step) -> None:
    if step.op in ("clip", "rescale"):
        low, high = np.broadcast_arrays(step.minimum, step.maximum)
        if not (low < high).all():
            raise PackageError(f'the step "{step.op}" has a minimum that is not below its maximum')
    if step.op == "standardise" and min(step.std) <= 0:
        raise PackageError('the step "standardise" has a standard deviation that is not positive')
    if step.op == "scale" and 0.0 in step.factor:
        raise PackageError('the step "scale" has a factor of 0', "all pixels would become equal")
    if step.op == "db" and min(step.floor) <= 0:
        raise PackageError('the step "db" has a floor that is not positive')


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none"


@dataclass(frozen=True)
class _Linear:
    """x * factor + offset with one or per-band values in float64; chains of linear steps become one."""

    factor: NDArray[np.float64]
    offset: NDArray[np.float64]

    def then(self, other: _Linear) -> _Linear:
        return replace(self, factor=self.factor * other.factor, offset=self.offset * other.factor + other.offset)


def _linear(step: Step) -> _Linear | None:
    values = {name: np.asarray(value, dtype=np.float64) for name, value in parameters(step).items()}
    if step.op == "rescale":
        factor = 1.0 / (values["maximum"] - values["minimum"])
        return _Linear(factor, -values["minimum"] * factor)
    if step.op == "standardise":
        return _Linear(1.0 / values["std"], -values["mean"] / values["std"])
    if step.op == "scale":
        return _Linear(values["factor"], values["offset"])
    return None


def _per_band(values: Sequence[float] | NDArray[np.float64]) -> Array:
    return np.asarray(values, dtype=np.float32).reshape(-1, 1, 1)


def _operation(step: Step) -> _Operation:
    """In-place function of a step that is not linear."""
    low, high, floor = _per_band(step.minimum), _per_band(step.maximum), _per_band(step.floor)

    def clip(x: Array) -> None:
        np.clip(x, low, high, out=x)

    def log1p(x: Array) -> None:
        np.maximum(x, np.float32(0), out=x)
        np.log1p(x, out=x)

    def decibel(x: Array) -> None:
        np.maximum(x, floor, out=x)
        np.log10(x, out=x)
        np.multiply(x, np.float32(10), out=x)

    return {"clip": clip, "log1p": log1p, "db": decibel}[step.op]


def _apply_linear(linear: _Linear) -> _Operation:
    factor, offset = _per_band(linear.factor), _per_band(linear.offset)

    def multiply_add(x: Array) -> None:
        np.multiply(x, factor, out=x)
        np.add(x, offset, out=x)

    return multiply_add


class Normaliser:
    """The steps of one input, prepared once: adjoining linear steps are merged into one multiplication and addition."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._operations: list[_Operation] = []
        pending: _Linear | None = None
        for step in steps:
            linear = _linear(step)
            if linear is not None:
                pending = pending.then(linear) if pending is not None else linear
                continue
            if pending is not None:
                self._operations.append(_apply_linear(pending))
                pending = None
            self._operations.append(_operation(step))
        if pending is not None:
            self._operations.append(_apply_linear(pending))

    def __call__(self, values: Array) -> Array:
        """Normalise (..., C, H, W) float32 physical values in place; returns the same array."""
        for operation in self._operations:
            operation(values)
        return values
