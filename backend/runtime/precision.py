"""The choice of runtime and precision: the fastest variant that is accurate on this machine.

Accurate means: on the package's golden input every output stays within the tolerance that the package states for the
variant. Fast means measured here. The answer is kept in the user's folder, per packages, request and machine.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend.manifest.home import home
from backend.protocol.errors import PackageError
from backend.protocol.jobs import ComputeSpec
from backend.runtime.assembly import Assembly
from backend.runtime.choice import Choice, candidates
from backend.runtime.devices import cpu_threads, cpu_title, runtime_version
from backend.runtime.verify import Check, check_variant

LOG = logging.getLogger(__name__)
FILE = "choices.json"
ROUNDS = 2
CLEARLY = 0.1  # less is within the noise of such short measurements


def choose(assembly: Assembly, compute: ComputeSpec, timed: Callable[[Choice], float], about: str = "") -> Choice:
    """How to compute the packages.

    Args:
        compute: the user's wishes; with precision "auto" only variants within tolerance are considered, a precision
            asked for by name is taken as it is.
        timed: seconds per window of a choice.
        about: what else decides the time, for the memory of earlier answers.

    Raises:
        DeviceError: the device or the runtime is not there.
        ParameterError: no variant is as asked for.
        PackageError: no variant is within its tolerance.
    """
    found = candidates(assembly, compute)
    if compute.precision != "auto" and len(found) == 1:
        return found[0]
    key = _key(assembly, compute, found, about)
    known = _read().get(key)
    for choice in found:
        if known == [choice.runtime, choice.precision, choice.device]:
            return choice
    accurate = found if compute.precision != "auto" else _accurate(assembly, found)
    best = accurate[0] if len(accurate) == 1 else _fastest(accurate, timed)
    _remember(key, best)
    return best


def _fastest(choices: list[Choice], timed: Callable[[Choice], float]) -> Choice:
    """The fastest of several, or one that the package names before it and that is hardly slower.

    Measured in turns, because other programs may be busy for a while.
    """
    seconds = dict.fromkeys(choices, float("inf"))
    for _ in range(ROUNDS):
        for choice in choices:
            seconds[choice] = min(seconds[choice], timed(choice))
    limit = min(seconds.values()) * (1 + CLEARLY)
    return next(choice for choice in choices if seconds[choice] <= limit)


def _accurate(assembly: Assembly, found: list[Choice]) -> list[Choice]:
    failed: list[Check] = []
    accurate = []
    for choice in found:
        wrong = [check for package in assembly.packages if not (check := check_variant(package, choice)).ok]
        failed.extend(wrong)
        if not wrong:
            accurate.append(choice)
    for check in failed:
        LOG.warning("%s", check.sentence())
    if not accurate:
        raise PackageError(
            f"{assembly.base.reference} does not give its golden output on this machine",
            "; ".join(check.sentence() for check in failed),
            "install the model again; if that does not help, report it to its author",
        )
    return accurate


def _key(assembly: Assembly, compute: ComputeSpec, found: list[Choice], about: str) -> str:
    """What the answer depends on: packages, request, machine, versions of the runtimes."""
    runtimes = {name: runtime_version(name) for name in ("onnxruntime", "torch")}
    machine = [cpu_title(), cpu_threads(), [choice.to_dict() for choice in found]]
    digests = [package.digest for package in assembly.packages]
    request = [compute.device, compute.precision, compute.runtime, compute.batch]
    text = json.dumps([digests, request, machine, runtimes, about], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _read() -> dict[str, Any]:
    """Answers given so far; none where the file is missing or damaged, since it only saves time."""
    try:
        values = json.loads((home() / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _remember(key: str, choice: Choice) -> None:
    values = {**_read(), key: [choice.runtime, choice.precision, choice.device]}
    target: Path = home() / FILE
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(values, indent=1), encoding="utf-8")
        os.replace(part, target)
    except OSError as error:
        LOG.warning("the choice of runtime and precision could not be kept: %s", error)
