"""The model packages on this computer: list, describe, verify, install, remove."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from backend.manifest import hub, load, locate, store
from backend.manifest.package import Package
from backend.protocol.errors import PackageError
from backend.protocol.jobs import ComputeSpec, InstallJob, RemoveJob
from backend.protocol.messages import ModelSummary
from backend.runtime import verify as golden
from backend.tasks import published
from backend.tasks.context import Context
from backend.tasks.model_card import card

PROGRESS_STEPS = 1000

log = logging.getLogger(__name__)


def summaries() -> tuple[ModelSummary, ...]:
    """The usable packages; a broken one is left out and logged."""
    listing = store.list_installed()
    for folder, problem in listing.problems:
        log.warning("%s: %s", folder, problem)
    return tuple(ModelSummary(p.name, p.version, p.title, p.kind, p.task) for p in listing.packages)


def list_models() -> list[dict[str, Any]]:
    """Every installed and built-in package with its folder; those that cannot be used come last, with the problem."""
    listing = store.list_installed()
    broken = [_entry(folder) | {"problem": str(problem)} for folder, problem in listing.problems]
    return [_summary(package) | {"problem": ""} for package in listing.packages] + broken


def describe(name: str) -> dict[str, Any]:
    """A package's document (`model.json`) and what is known of it here; `summary` says it in lines for people.

    Raises:
        PackageError: there is no such package, or it is not usable.
    """
    package = load.load(name)
    document = json.loads((package.root / "model.json").read_text("utf-8"))
    found = _summary(package)
    return found | {
        "digest": package.digest,
        "document": document,
        "summary": card(package, found["built_in"]),
    }


def verify(name: str, compute: ComputeSpec | None = None) -> dict[str, Any]:
    """Check a package's digests, and compute its golden input with every variant.

    Returns:
        "ok": a variant agrees and none differs; those that this environment cannot compute do not count.
        "checks": one entry of `backend.runtime.verify.Check` per variant.

    Raises:
        PackageError: there is no such package, or it is damaged.
    """
    package = load.load(name)
    checks = golden.verify(package, compute)
    return {
        "reference": package.reference,
        "ok": any(check.ok for check in checks) and all(check.state != "differs" for check in checks),
        "checks": [c.to_dict() for c in checks],
    }


def install(job: InstallJob, context: Context) -> dict[str, Any]:
    """Take a package into the user's folder, if its golden input gives the golden output in at least one variant.

    Published weights (`hf:OWNER/NAME`) become packages here, a head together with its encoder. A package of which this
    machine cannot compute any variant is installed: another environment may be able to.

    Returns:
        the package to work with, and under "needs" those that it was installed together with.

    Raises:
        PackageError: the package is refused, or another one of this name and version is there.
        DeviceError: published weights need torch to become a package.
        OutputError: it cannot be stored.
        Cancelled: the context says so.
    """

    def report(share: float, text: str) -> None:
        context.progress(text, int(share * PROGRESS_STEPS), PROGRESS_STEPS)

    if hub.is_hub(job.source):
        *others, main = published.install(job.source, report, context.cancelled, _refuse_when_wrong)
    else:
        others, main = [], store.install(job.source, report, context.cancelled, _refuse_when_wrong)
    return _installed(main) | {"needs": [_installed(other) for other in others]}


def remove(job: RemoveJob) -> dict[str, Any]:
    """Delete an installed package; raises `PackageError` where there is none, or where it must stay."""
    return {"reference": store.remove(job.name)}


def _refuse_when_wrong(package: Package) -> None:
    computed = [check for check in golden.verify(package) if check.difference is not None]
    if computed and not any(check.ok for check in computed):
        raise PackageError(
            f"{package.reference} does not compute what its author computed", computed[0].sentence(), "ask its author"
        )


def _entry(folder: Path) -> dict[str, Any]:
    return {"path": str(folder), "built_in": locate.is_built_in(folder)}


def _installed(done: store.Installed) -> dict[str, Any]:
    return _summary(done.package) | {"already_installed": done.already, "sha256": done.sha256}


def _summary(package: Package) -> dict[str, Any]:
    return {
        "reference": package.reference,
        "name": package.name,
        "version": package.version,
        "title": package.title,
        "kind": package.kind,
        "task": package.task,
        **_entry(package.root),
    }
