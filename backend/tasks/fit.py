"""Which models take the given inputs for a task, and why the others do not; and which sensors there are to name."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from backend.geo.env import gdal_environment
from backend.manifest import load, locate, store
from backend.manifest.package import Package
from backend.protocol.errors import EarthPrismError, ParameterError
from backend.protocol.jobs import SceneJob
from backend.protocol.messages import FitModels
from backend.sensors.catalogue import catalogue
from backend.tasks.setup import check
from backend.tasks.table import TASKS
from backend.tasks.task import notes_on

_JOBS = {job.kind: job for job in TASKS}


def fit(query: FitModels) -> dict[str, Any]:
    """Every usable package for the task; those that take the inputs first, then those that are nearest to it.

    Returns:
        "models": per package its reference, title, licence, pixel sizes, classes and "problem", which is "" where it
        takes the inputs; "notes" says what would happen to them.

    Raises:
        ParameterError: there is no such task.
    """
    if query.task not in _JOBS:
        raise ParameterError(f'there is no task "{query.task}"', f"the tasks are {', '.join(_JOBS)}")
    wanted = TASKS[_JOBS[query.task]].packages
    packages = [package for package in store.list_installed().packages if package.task in wanted]
    with gdal_environment(), tempfile.TemporaryDirectory() as folder:
        entries = [_entry(package, query, Path(folder) / "result.tif") for package in packages]
    # What was made for the task stands before encoders, which serve for it as well.
    return {"models": sorted(entries, key=lambda e: (bool(e["problem"]), _foreign(e, query), e["kind"] == "encoder"))}


def sensors() -> dict[str, Any]:
    """The sensors of the catalogue, for a choice by name."""
    found = [
        {"name": sensor.name, "title": sensor.title, "modality": sensor.modality, "unit": sensor.unit}
        for sensor in catalogue().values()
    ]
    return {"sensors": found}


def _entry(package: Package, query: FitModels, output: Path) -> dict[str, Any]:
    problem, notes = _verdict(package, query, output)
    legend = [[{"value": c.value, "name": c.name, "color": c.color} for c in out.classes] for out in package.outputs]
    return {
        "reference": package.reference,
        "name": package.name,
        "title": package.title,
        "about": package.description,
        "kind": package.kind,
        "task": package.task,
        "licence": package.licence,
        "training": package.training,
        "built_in": locate.is_built_in(package.root),
        "modalities": [slot.modality for slot in _takes(package)],
        "gsd_m": [list(slot.gsd_m) for slot in _takes(package)],
        "classes": legend,
        "problem": problem,
        "notes": notes,
    }


def _foreign(entry: dict[str, Any], query: FitModels) -> int:
    """How many inputs are of a modality that the package does not take: what is wrong elsewhere is nearer to a fit."""
    return sum(spec.modality not in entry["modalities"] for spec in query.inputs)


def _takes(package: Package) -> tuple[Any, ...]:
    """The inputs of a package; a head's are its encoder's."""
    if package.inputs:
        return package.inputs
    from backend.runtime.assembly import assemble

    try:
        return assemble((package,)).inputs
    except EarthPrismError:  # the verdict says that the encoder is not there
        return ()


def _verdict(package: Package, query: FitModels, output: Path) -> tuple[str, list[str]]:
    """What speaks against the package, "" for nothing; and what the inputs would go through."""
    if not query.inputs:
        return "", []
    try:
        checked = check(_job(package, query, output))
    except EarthPrismError as error:
        return error.sentence(), []
    return "", notes_on(checked.inputs, checked.place)


def _job(package: Package, query: FitModels, output: Path) -> SceneJob:
    reference = load.load(package.reference).reference
    return _JOBS[query.task](tuple(query.inputs), (reference,), str(output), area=query.area, grid=query.grid)
