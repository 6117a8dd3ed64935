"""Class map of a scene: what a job asks of its packages, and which numbers of it make sense."""

from __future__ import annotations

import math

from backend.protocol.errors import PackageError, ParameterError
from backend.protocol.jobs import SegmentJob
from backend.runtime.assembly import Assembly
from backend.tasks.class_maps import ClassMap, class_maps
from backend.tasks.deliver import deliver, is_empty
from backend.tasks.outputs import RASTER_SUFFIXES, NamedFile
from backend.tasks.task import Task, Work


def files(job: SegmentJob) -> list[NamedFile]:
    """The files that the job names."""
    return [
        NamedFile("--output", job.output, RASTER_SUFFIXES),
        NamedFile("--confidence", job.confidence, RASTER_SUFFIXES),
        NamedFile("--probabilities", job.probabilities, RASTER_SUFFIXES),
        NamedFile("--polygons", job.polygons, (".gpkg",)),
    ]


def work(job: SegmentJob, assembly: Assembly) -> Work[ClassMap]:
    """One class map for each head.

    Raises:
        ParameterError: a number that makes no sense.
        PackageError: an encoder without a head, or a head that makes no class map.
    """
    for name, value in (("minimum area", job.min_area), ("simplification", job.simplify)):
        if not 0 <= value < math.inf:
            raise ParameterError(f"a {name} of {value} makes no sense", "it must be 0 or more")
    if not assembly.outputs:
        name = assembly.base.reference
        raise PackageError(f"{name} gives no classes", "it is an encoder", "add a head of it with a second --model")
    for package in assembly.producers:
        if package.task != "segment":
            raise PackageError(
                f"{package.reference} makes no class map", f"its task is {package.task}", "choose a segmentation model"
            )
    options = {"min_area_m2": job.min_area, "simplify_px": job.simplify, "polygons": job.polygons is not None}
    return Work(class_maps(job, assembly.producers, assembly.outputs), assembly.tiling, options=options)


TASK = Task("segmenting", frozenset({"segment"}), files, work, deliver, is_empty)
