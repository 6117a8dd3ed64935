"""What changed between two dates: classes by a change head, classes compared, or the distance of embeddings.

Which of the three follows from the model. A change head sees both dates. A segmentation model sees one date at a time,
and the classes of both are compared, as with a head of semantic change: the result holds what became what. An encoder
needs no head: the result is the distance of what it makes of the dates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from backend.geo.threshold import parse_threshold
from backend.manifest.package import ClassInfo, Output, Package
from backend.protocol.errors import PackageError, ParameterError
from backend.protocol.jobs import ChangeJob
from backend.runtime.assembly import Assembly
from backend.runtime.two_dates import outputs_of
from backend.scene.chunks import ChunkStore
from backend.scene.decide import NODATA
from backend.scene.finish import ResultKind
from backend.scene.run import RunFolder
from backend.scene.transitions import MOST_CLASSES, UNCHANGED, TransitionOutput, transition_value
from backend.tasks import deliver as of_classes
from backend.tasks.class_maps import ClassMap, class_map, class_rule
from backend.tasks.context import Context
from backend.tasks.difference import Difference, deliver_difference, difference, distance, is_empty_difference
from backend.tasks.embed import chosen_map, map_tiling
from backend.tasks.outputs import RASTER_SUFFIXES, NamedFile, ResultFiles
from backend.tasks.task import Setup, Task, Work

ROLES = {"before": ("earlier", "--before"), "after": ("later", "--after")}
UNCHANGED_COLOR = "#f0f0f0"


def files(job: ChangeJob) -> list[NamedFile]:
    """The files that the job names."""
    return [
        NamedFile("--output", job.output, RASTER_SUFFIXES),
        NamedFile("--changed", job.changed, RASTER_SUFFIXES),
        NamedFile("--confidence", job.confidence, RASTER_SUFFIXES),
        NamedFile("--probabilities", job.probabilities, RASTER_SUFFIXES),
        NamedFile("--polygons", job.polygons, (".gpkg",)),
    ]


def work(job: ChangeJob, assembly: Assembly) -> Work[Any]:
    """Classes of change by a head, transitions between the classes of two dates, or the distance of embeddings.

    Raises:
        ParameterError: a number or an option that makes no sense, a date that is not given.
        PackageError: a model that tells nothing about change.
    """
    _check_numbers(job)
    _check_dates(job)
    producers = assembly.producers
    if len(producers) > 1:
        raise PackageError(
            f"{' and '.join(p.reference for p in producers)} cannot be compared together",
            "change is found by one model",
            "run them one after another",
        )
    (package,) = producers
    options = {"min_area_m2": job.min_area, "simplify_px": job.simplify, "polygons": job.polygons is not None}
    if package.kind == "encoder":
        return _difference(job, package, options)
    _check_head_options(job, package)
    # A bundle made for change takes both dates by itself.
    both = package.kind == "head" or package.task != "change"
    outputs = outputs_of(package, both)
    if len(outputs) == 1:
        return Work((class_map(job, package, outputs[0]),), assembly.tiling, (), options, both)
    result = _transitions(job, package, outputs[0])
    return Work((result,), assembly.tiling, (), options, both, _side_by_side)


def _check_numbers(job: ChangeJob) -> None:
    for name, value in (("minimum area", job.min_area), ("simplification", job.simplify)):
        if not 0 <= value < math.inf:
            raise ParameterError(f"a {name} of {value} makes no sense", "it must be 0 or more")


def _check_dates(job: ChangeJob) -> None:
    for role, (title, option) in ROLES.items():
        if not any(spec.role == role for spec in job.inputs):
            raise ParameterError(
                f"no raster of the {title} date was given",
                "change is found between two dates",
                f"add one, as in {option} --ms scene.tif",
            )


def _check_head_options(job: ChangeJob, package: Package) -> None:
    if package.task not in ("change", "segment"):
        raise PackageError(
            f"{package.reference} finds no change",
            f"its task is {package.task}",
            "choose a change model, a segmentation model or an encoder",
        )
    for option, given in (("--changed", job.changed is not None), ("--feature", job.feature is not None)):
        if given:
            raise ParameterError(
                f"{option} has no meaning here",
                f"{package.reference} gives classes",
                "leave it out, or choose an encoder as the model",
            )


def _difference(job: ChangeJob, encoder: Package, options: dict[str, Any]) -> Work[Difference]:
    for option, given in (("--confidence", job.confidence), ("--probabilities", job.probabilities)):
        if given is not None:
            raise ParameterError(
                f"{option} has no meaning here",
                f"{encoder.reference} is an encoder and knows no classes",
                "leave it out, or add a head with a second --model",
            )
    if job.changed is None and (job.polygons is not None or job.min_area):
        option = "--polygons" if job.polygons is not None else "--min-area"
        raise ParameterError(f"{option} needs --changed", "", f"add --changed or leave {option} out")
    rule = parse_threshold(job.threshold)
    feature = chosen_map(encoder, job.feature)
    result = difference(job, encoder, feature, rule)
    options = {**options, "feature": job.feature, "changed": list(rule) if job.changed is not None else None}
    tiling = map_tiling(encoder, feature)
    return Work((result,), tiling, (feature.name,), options, True, lambda found: [distance(*found)])


def _transitions(job: ChangeJob, package: Package, output: Output) -> ClassMap:
    rule, classes = class_rule(output, package)
    if len(classes) > MOST_CLASSES:
        raise PackageError(
            f"{package.reference} has too many classes to compare them",
            f"of {len(classes)} classes there are {len(classes) * (len(classes) - 1)} changes, more than a byte holds",
            f"choose a model of {MOST_CLASSES} classes at most",
        )
    legend = transition_legend(classes)

    def written(names: Mapping[str, str]) -> ResultKind:
        return TransitionOutput(rule, NODATA, names["classes"], names.get("confidence"), names.get("probabilities"))

    pairs = replace(output, classes=legend, activation="softmax", nodata=NODATA)
    found = class_map(job, package, pairs, written, ("changed",))
    return replace(found, many=True)


def transition_legend(classes: Sequence[ClassInfo]) -> tuple[ClassInfo, ...]:
    """The class of what did not change and every change from one class to another, in the colour of what it became."""
    changes = [
        ClassInfo(transition_value(i, j, len(classes)), f"{before.name} to {after.name}", after.color)
        for i, before in enumerate(classes)
        for j, after in enumerate(classes)
        if i != j
    ]
    return ClassInfo(UNCHANGED, "unchanged", UNCHANGED_COLOR), *changes


def _side_by_side(found: list[np.ndarray]) -> list[np.ndarray]:
    """Scores of both dates (batch, classes, H, W) as the channels of one array."""
    return [np.concatenate(found, axis=1)]


def deliver(setup: Setup[Any], folder: RunFolder, store: ChunkStore, context: Context) -> dict[str, Any]:
    """Write the results, the description of the run at the very end.

    Raises:
        Cancelled, OutputError: nothing incomplete carries a final name; the chunks are kept.
    """
    return _of(setup, deliver_difference, of_classes.deliver)(setup, folder, store, context)


def is_empty(setup: Setup[Any]) -> bool:
    """Whether the finished result holds nodata only."""
    return bool(_of(setup, is_empty_difference, of_classes.is_empty)(setup))


def _of(setup: Setup[ResultFiles], differences: Callable[..., Any], classes: Callable[..., Any]) -> Callable[..., Any]:
    return differences if isinstance(setup.results[0], Difference) else classes


TASK: Task[Any] = Task("comparing", frozenset({"change", "segment", "embed"}), files, work, deliver, is_empty)
