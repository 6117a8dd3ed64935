"""Whether a package computes on this machine what its author saw: every variant against the golden output."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from backend.manifest import golden
from backend.manifest.package import DETECTION_SCORE, Package
from backend.protocol.errors import EarthPrismError
from backend.protocol.jobs import ComputeSpec
from backend.runtime.choice import Choice, open_session, usable_variants, variant_for

TIED = 1e-4  # scores that differ by less count as equal; float32 sums of other order differ by about 1e-6


@dataclass(frozen=True)
class Check:
    """One variant against the golden output.

    Attributes:
        package: name and version.
        runtime, precision, device: how it was computed.
        difference: largest absolute difference; None where it could not be computed.
        tolerance: largest difference that the package allows.
        problem: why it could not be computed, else "".
    """

    package: str
    runtime: str
    precision: str
    device: str
    difference: float | None
    tolerance: float
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Computed, finite and within tolerance."""
        return self.difference is not None and self.difference <= self.tolerance

    @property
    def state(self) -> str:
        """One of "agrees", "differs", and "not available" where this environment cannot compute the variant."""
        if self.difference is None:
            return "not available"
        return "agrees" if self.ok else "differs"

    def sentence(self) -> str:
        """The result in words."""
        start = f"{self.package}, {self.precision} in {self.runtime} on {self.device}"
        if self.difference is None:
            return f"{start}, was not computed: {self.problem}"
        return f"{start}, differs by {self.difference:.2g} where {self.tolerance:.2g} is allowed"

    def to_dict(self) -> dict[str, Any]:
        """The check as JSON values."""
        difference = self.difference if self.difference is not None and np.isfinite(self.difference) else None
        return {
            **asdict(self),
            "difference": difference,
            "ok": self.ok,
            "state": self.state,
            "sentence": self.sentence(),
        }


def check_variant(package: Package, choice: Choice) -> Check:
    """Computes the golden input with the variant that the choice takes and compares.

    Raises:
        DeviceError: the runtime is not installed.
        PackageError: the graph or the weights cannot be loaded, or the golden input does not fit.
    """
    variant = variant_for(package, choice.runtime, choice.precision)
    tolerance = variant.tolerance if variant else 0.0
    inputs, expected = golden.read(package)
    session = open_session(package, choice)
    try:
        found = session.run(inputs)
    finally:
        session.close()
    missing = sorted(set(expected) - set(found))
    if missing:
        problem = f"the graph has no output {', '.join(missing)}"
        return Check(package.reference, choice.runtime, session.precision, choice.device, None, tolerance, problem)
    difference = max(_difference(found[name], stored) for name, stored in expected.items())
    return Check(package.reference, choice.runtime, session.precision, choice.device, difference, tolerance)


def _difference(found: np.ndarray, stored: np.ndarray) -> float:
    """Largest absolute difference at the stored positions; infinite where values are not finite or shapes differ."""
    sampled = golden.sample(found, stored.shape[2:])
    if sampled.shape != stored.shape or not np.isfinite(sampled).all():
        return float("inf")
    if stored.ndim == 3:
        pairs = zip(sampled, stored, strict=True)
        return max((_between_detections(one, other) for one, other in pairs), default=0.0)
    return float(np.abs(sampled - stored).max(initial=0.0))


def _between_detections(found: np.ndarray, stored: np.ndarray) -> float:
    """Largest difference of two lists of boxes, N x `DETECTION_VALUES` by falling score.

    The k-th scores are compared, and every box with the one most like it in the other list. Rounding exchanges boxes
    with almost the same score; where a list is full, it also decides which of those with the last score is still in it:
    these need no partner.
    """
    scores = np.abs(found[:, DETECTION_SCORE] - stored[:, DETECTION_SCORE]).max(initial=0.0)
    last = max(found[-1, DETECTION_SCORE], stored[-1, DETECTION_SCORE])
    floor = last + TIED if last > 0 else 0.0
    partners = np.abs(found[:, None] - stored[None]).max(axis=2)
    extra = partners.min(axis=1)[found[:, DETECTION_SCORE] > floor]
    missed = partners.min(axis=0)[stored[:, DETECTION_SCORE] > floor]
    return float(max(scores, extra.max(initial=0.0), missed.max(initial=0.0)))


def verify(package: Package, compute: ComputeSpec | None = None) -> list[Check]:
    """Checks every variant; one that this machine cannot compute is reported with the reason, not raised.

    Args:
        compute: limits device, runtime and precision; by default everything is checked.
    """
    compute = compute or ComputeSpec()
    checks = []
    for variant, choice, reason in usable_variants(package, compute):
        if choice is None:
            problem = reason
        else:
            try:
                checks.append(check_variant(package, choice))
                continue
            except (EarthPrismError, MemoryError) as error:
                problem = str(error)
        how = (package.reference, variant.runtime, variant.precision, compute.device)
        checks.append(Check(*how, None, variant.tolerance, problem))
    return checks
