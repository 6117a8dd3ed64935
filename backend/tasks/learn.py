"""Learning from labels: features around them, a probe, what it is worth, a package, and the map of the scene."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from backend.geo.env import gdal_environment
from backend.geo.labels import Labels, read_labels
from backend.manifest import store
from backend.manifest.load import load
from backend.manifest.package import Feature, Package
from backend.protocol.errors import ParameterError
from backend.protocol.jobs import AreaSpec, EmbedJob, LearnJob, SegmentJob
from backend.runtime.packing.learned import newest_version, version_after, write_head
from backend.tasks import scene, segment
from backend.tasks.context import Context
from backend.tasks.embed import chosen_map
from backend.tasks.outputs import check_free, check_outputs
from backend.tasks.probe import chosen_strength, fit_logistic
from backend.tasks.samples import Samples, read_samples
from backend.tasks.setup import check as check_scene
from backend.tasks.validation import folds_of_blocks, folds_of_labels, validated, warnings_on

# As the schema of packages has it.
NAME, SHORTEST, LONGEST = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*"), 3, 64


def check(job: LearnJob) -> None:
    """Refuse a job that cannot be done, before anybody waits for a device.

    Raises:
        InputError: what is wrong with it.
    """
    with gdal_environment(), tempfile.TemporaryDirectory() as scratch:
        _checked(job, Path(scratch))


def run(job: LearnJob, context: Context) -> dict[str, Any]:
    """Learn from labels; install the head, and map the scene with it where that is wanted.

    Returns:
        "model": reference of the new package; "report": accuracy, confusion, warnings; and for a map what
        `backend.tasks.scene.run` returns.

    Raises:
        InputError, OutputError, SourceError, Cancelled: nothing was installed, unless the map alone failed.
    """
    started = time.monotonic()
    with gdal_environment(), tempfile.TemporaryDirectory() as scratch:
        labels, embedding, encoder, feature, window = _checked(job, Path(scratch))
        scene.run(embedding, context.without_chunks())
        samples = read_samples(Path(embedding.output), labels, context.check)
    context.progress("learning", 0, 1)
    weights, bias, report = _learned(job, labels, samples, encoder, feature)
    for text in report["warnings"]:
        context.warn(text)
    make = partial(
        write_head, encoder, feature, window, weights, bias, samples.names, job.save, samples.features, report
    )
    package = _installed(make, job.save, context)
    context.progress("learning", 1, 1)
    found: dict[str, Any] = {
        "model": package.reference,
        "path": str(package.root),
        "report": report,
        "outputs": {},
        "seconds": round(time.monotonic() - started, 2),
        "warnings": report["warnings"],
    }
    if job.output is None:
        return found
    mapped = scene.run(_map_job(job, (*job.models, package.reference)), context)
    return {**found, **mapped, "warnings": [*report["warnings"], *mapped["warnings"]]}


def _installed(make: Callable[[str, Path], Package], name: str, context: Context) -> Package:
    """The package, installed: what is the same as the newest one of its name is that one, so that a map goes on."""
    newest = newest_version(name)
    if newest:
        known = load(f"{name}@{newest}")
        with tempfile.TemporaryDirectory() as folder:
            if make(newest, Path(folder)).digest == known.digest:
                return known
    (installed,) = store.install_made(lambda folder: [make(version_after(newest), folder)], context.cancelled)
    return installed.package


def _checked(job: LearnJob, scratch: Path) -> tuple[Labels, EmbedJob, Package, Feature, int]:
    """The labels, the job that embeds the ground around them, the encoder, its map and the window of the head.

    Raises:
        InputError: what is wrong with the job.
    """
    if job.output is None:
        for option, value in (("--confidence", job.confidence), ("--probabilities", job.probabilities),
                              ("--polygons", job.polygons)):  # fmt: skip
            if value is not None:
                raise ParameterError(f"{option} needs --output", "", f"add --output or leave {option} out")
    if not (NAME.fullmatch(job.save) and SHORTEST <= len(job.save) <= LONGEST):
        raise ParameterError(
            f'"{job.save}" is no name for a model',
            f"it needs {SHORTEST} to {LONGEST} small letters, digits and single dashes",
            "write it as in --save my-orchards",
        )
    labels = read_labels(job.labels.path, job.labels.field, job.labels.layer)
    if len(labels.classes) < 2:
        raise ParameterError(f'"{labels.path}" has labels of one class only', labels.classes[0], "label a second one")
    area = scratch / "labels.gpkg"
    labels.write_area(area)
    embedding = EmbedJob(
        job.inputs, job.models, str(scratch / "embedding.tif"), job.feature, AreaSpec(str(area)), job.mask, job.grid,
        job.compute, job.overlap,
    )  # fmt: skip
    checked = check_scene(embedding)
    encoder = checked.assembly.base
    if job.output is not None:
        mapping = _map_job(job, job.models)
        check_outputs(mapping, segment.files(mapping))
        if job.if_exists == "refuse":
            check_free(Path(name).absolute() for name in named(mapping))
    return labels, embedding, encoder, chosen_map(encoder, job.feature), checked.inputs[0].slot.size


def named(job: SegmentJob) -> list[str]:
    """The files that a job names."""
    return [file.name for file in segment.files(job) if file.name is not None]


def _map_job(job: LearnJob, models: tuple[str, ...]) -> SegmentJob:
    assert job.output is not None
    return SegmentJob(
        job.inputs, models, job.output, job.confidence, job.probabilities, job.polygons, job.area, job.mask, job.grid,
        job.compute, job.min_area, job.simplify, job.overlap, job.if_exists,
    )  # fmt: skip


def _learned(
    job: LearnJob, labels: Labels, samples: Samples, encoder: Package, feature: Feature
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Weights D x classes, bias, and the report."""
    count, by_label, by_block = len(samples.names), folds_of_labels(samples), folds_of_blocks(samples)
    strength = chosen_strength(samples.features, samples.classes, count, by_label)
    fit = partial(fit_logistic, classes=count, strength=strength)
    checks = [validated(samples, folds, fit) for folds in (by_label, by_block)]
    probe = fit(samples.features, samples.classes)
    weights = probe.weights / probe.scale[:, None]
    report = {
        "trained_on": f'{len(labels.names)} labels of "{Path(labels.path).name}", field {job.labels.field}',
        "labels": len(labels.names),
        "samples": len(samples.classes),
        "classes": [
            {"value": value, "name": name, "labels": int(number)}
            for value, (name, number) in enumerate(zip(samples.names, samples.counts, strict=True))
        ],
        "encoder": {"name": encoder.reference, "sha256": encoder.digest},
        "feature": feature.name,
        "method": "logistic regression",
        "strength": strength,
        "inputs": [Path(path).name for spec in job.inputs for path in spec.paths],
        "by_label": checks[0].to_dict() if checks[0] else None,
        "by_block": checks[1].to_dict() if checks[1] else None,
        "warnings": warnings_on(samples, *checks),
    }
    return weights, probe.bias - probe.mean @ weights, report
