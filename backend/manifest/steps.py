"""The closed list of normalisation steps and what each needs; `backend.scene.normalise` carries them out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
