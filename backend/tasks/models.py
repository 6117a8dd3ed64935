"""The model packages on this computer: list, describe, verify, install, remove."""

from __future__ import annotations

import json
import logging
from typing import Any

from backend.manifest import load, locate
from backend.protocol.errors import PackageError
from backend.protocol.jobs import ComputeSpec
from backend.protocol.messages import ModelSummary
from backend.runtime import verify as golden

log = logging.getLogger(__name__)


def summaries() -> tuple[ModelSummary, ...]:
    """The usable packages; a broken one is left out, its problem is in `list_models`."""
    found = []
    for _, _, folder in locate.candidates():
        try:
            package = load.load(folder, digests=False)
        except PackageError as error:
            log.warning("%s", error)
            continue
        found.append(ModelSummary(package.name, package.version, package.title, package.kind, package.task))
    return tuple(found)


def list_models() -> list[dict[str, Any]]:
    """Every installed and built-in package with its folder, and its problem where it cannot be used."""
    found = []
    for name, version, folder in locate.candidates():
        entry: dict[str, Any] = {"name": name, "version": version, "path": str(folder)}
        entry["built_in"] = locate.is_built_in(folder)
        try:
            package = load.load(folder, digests=False)
            entry |= {"title": package.title, "kind": package.kind, "task": package.task, "problem": ""}
        except PackageError as error:
            entry["problem"] = str(error)
        found.append(entry)
    return found


def describe(name: str) -> dict[str, Any]:
    """A package's document (`model.json`) and what is known of it here.

    Raises:
        PackageError: there is no such package, or it is not usable.
    """
    package = load.load(name)
    document = json.loads((package.root / "model.json").read_text("utf-8"))
    return {
        "reference": package.reference,
        "title": package.title,
        "path": str(package.root),
        "built_in": locate.is_built_in(package.root),
        "digest": package.digest,
        "document": document,
    }


def verify(name: str, compute: ComputeSpec | None = None) -> dict[str, Any]:
    """Check a package's digests, and compute its golden input with every variant.

    Returns:
        "ok", and one entry of `backend.runtime.verify.Check` per variant in "checks".

    Raises:
        PackageError: there is no such package, or it is damaged.
    """
    package = load.load(name)
    checks = golden.verify(package, compute)
    return {
        "reference": package.reference,
        "ok": all(check.ok for check in checks),
        "checks": [c.to_dict() for c in checks],
    }
