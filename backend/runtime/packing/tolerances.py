"""How far each variant of a package may be from float32 torch on the golden data: measured, then stated by one rule.

float32 graphs: within 1e-4, or the export fails. The reference itself, on other processors and devices, whose sums have
another order: a ten-thousandth of its largest output. Reduced precision (int8, bf16): twice what was measured, because
processors differ in how they round; a variant that is far off is left out, since a tolerance that lets anything pass
would hide it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from backend.manifest.package import Package, Variant
from backend.protocol.errors import PackageError

LOG = logging.getLogger(__name__)
EXACT = 1e-4
REFERENCE = 1e-4
SLACK = 2.0
MOST_RELATIVE = 0.1

Way = tuple[str, str]  # runtime and precision


@dataclass(frozen=True)
class Difference:
    """How far a variant is from torch in float32 on the golden data.

    Attributes:
        largest: absolute difference, over all outputs.
        relative: root mean square of the difference over that of the output; the worst output's.
    """

    largest: float
    relative: float

    @staticmethod
    def between(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> Difference:
        """The difference of outputs by name."""
        pairs = [(found[name].astype(np.float64), values.astype(np.float64)) for name, values in expected.items()]
        return Difference(
            max(float(np.abs(a - b).max()) for a, b in pairs),
            max(float(np.sqrt(((a - b) ** 2).mean() / max((b**2).mean(), 1e-12))) for a, b in pairs),
        )


def with_tolerances(
    package: Package, differences: Mapping[Way, Difference], expected: Mapping[str, np.ndarray]
) -> Package:
    """The package with the tolerance of each variant, without those that are too far off.

    Args:
        package: tolerances yet open.
        differences: by runtime and precision, of every variant but the reference, float32 in torch.
        expected: what the reference gives, by output name.

    Raises:
        PackageError: a float32 graph computes something else than torch, or the reference gives no finite numbers.
    """
    largest = max(float(np.abs(array).max(initial=0.0)) for array in expected.values())
    if not np.isfinite(largest):
        raise PackageError(f"the weights of {package.name} cannot be used", "they give numbers that are not finite")
    kept = []
    for variant in package.variants:
        if (variant.runtime, variant.precision) == ("torch", "fp32"):
            kept.append(replace(variant, tolerance=max(EXACT, REFERENCE * largest)))
            continue
        tolerance = _tolerance(package, variant, differences[variant.runtime, variant.precision])
        if tolerance is not None:
            kept.append(replace(variant, tolerance=tolerance))
    return replace(package, variants=tuple(kept))


def _tolerance(package: Package, variant: Variant, found: Difference) -> float | None:
    """A variant's tolerance; None leaves it out."""
    LOG.info("%s %s: %s", variant.runtime, variant.precision, found)
    if variant.precision == "fp32":
        if found.largest > EXACT:
            raise PackageError(
                f"the float32 graph of {package.name} computes something else than torch",
                f"they differ by {found.largest:.2g} where {EXACT:g} is allowed",
                "pack it without graphs, and report it",
            )
        return EXACT
    if not found.relative <= MOST_RELATIVE:
        LOG.warning("%s is left out: its relative error is %.2g", variant.precision, found.relative)
        return None
    return max(EXACT, float(f"{SLACK * found.largest:.1e}"))
