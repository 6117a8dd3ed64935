"""The files of a class map, head by head, and how scores become its classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from backend.geo.writer import RasterProfile
from backend.manifest.package import ClassInfo, Output, Package
from backend.protocol.errors import PackageError
from backend.protocol.jobs import ChangeJob, SegmentJob
from backend.scene.decide import NODATA, PROBABILITY_LEVELS, ClassRule
from backend.scene.finish import HeadOutput, ResultKind
from backend.tasks.outputs import ResultFiles, legend_of, tags

BACKGROUND_COLOR = "#d9d9d9"
# Makes what the engine writes from the names of the layers by kind.
Written = Callable[[Mapping[str, str]], ResultKind]


@dataclass(frozen=True, kw_only=True)
class ClassMap(ResultFiles):
    """The results of one head.

    Attributes:
        nodata: value of the class raster that is no class.
        min_area: minimum mapping unit in square metres, 0 for none.
        simplify: simplification of polygon outlines in pixels, 0 for none.
        many: whether there are so many classes that only those which occur are measured.
    """

    kinds: ClassVar[tuple[str, ...]] = ("classes", "confidence", "probabilities", "polygons")

    nodata: int
    min_area: float
    simplify: float
    many: bool = False


def class_maps(job: SegmentJob, packages: Sequence[Package], outputs: Sequence[Output]) -> tuple[ClassMap, ...]:
    """Everything that the job writes; several heads get their model's name into the file names.

    Raises:
        PackageError: a head has no classes that exclude each other.
    """
    several = len(packages) > 1
    return tuple(class_map(job, *pair, several=several) for pair in zip(packages, outputs, strict=True))


def class_rule(output: Output, package: Package) -> tuple[ClassRule, tuple[ClassInfo, ...]]:
    """How a head's scores become classes, and the classes.

    Raises:
        PackageError: the head has no classes that exclude each other.
    """
    if not output.classes:
        raise PackageError(
            f"{package.reference} gives no classes", f"its task is {package.task}", "choose a segmentation model"
        )
    if output.activation != "sigmoid":
        return ClassRule(tuple(c.value for c in output.classes), nodata=output.nodata), output.classes
    if len(output.classes) > 1:
        raise PackageError(
            f"{package.reference} gives several labels for a pixel",
            "a class map holds one",
            "choose a segmentation model whose classes exclude each other",
        )
    present = output.classes[0]
    absent = ClassInfo(0 if present.value else 1, f"not {present.name}", BACKGROUND_COLOR)
    threshold = output.thresholds[0] if output.thresholds else 0.5
    return ClassRule((absent.value, present.value), threshold, output.nodata), (absent, present)


def class_map(
    job: SegmentJob | ChangeJob,
    package: Package,
    output: Output,
    written: Written | None = None,
    bands: tuple[str, ...] = (),
    several: bool = False,
) -> ClassMap:
    """What a job writes of a head.

    Args:
        output: the head's; its classes are the legend.
        written: makes what the engine writes from the names of the layers by kind; None decides on the largest score.
        bands: names of the bands of probabilities; empty for one per class.
        several: whether other heads write files beside this one's.

    Raises:
        PackageError: the head has no classes that exclude each other.
    """
    rule, classes = class_rule(output, package)
    prefix = f"{package.name}/" if several else ""
    layers = [
        ("classes", job.output, class_profile(classes, rule.nodata, package)),
        ("confidence", job.confidence, score_profile(package, ("confidence",))),
        ("probabilities", job.probabilities, score_profile(package, bands or tuple(c.name for c in classes))),
    ]
    wanted = [(kind, path, profile) for kind, path, profile in layers if path is not None]
    named = {kind: prefix + kind for kind, _, _ in wanted}
    written = written or partial(_decided, rule)
    return ClassMap(
        package=package,
        output=written(named),
        # The class raster is written last: a chunk counts as finished when it is there.
        profiles={named[kind]: profile for kind, _, profile in reversed(wanted)},
        targets={named[kind]: _target(path, package.name, several) for kind, path, _ in wanted},
        classes=classes,
        polygons=None if job.polygons is None else _target(job.polygons, package.name, several),
        nodata=rule.nodata,
        min_area=job.min_area,
        simplify=job.simplify,
    )


def _decided(rule: ClassRule, named: Mapping[str, str]) -> ResultKind:
    return HeadOutput(rule, named["classes"], named.get("confidence"), named.get("probabilities"))


def _target(path: str, name: str, several: bool) -> Path:
    target = Path(path).absolute()
    return target.with_name(f"{target.stem}-{name}{target.suffix}") if several else target


def class_profile(classes: Sequence[ClassInfo], nodata: int, package: Package) -> RasterProfile:
    """A raster of classes."""
    return RasterProfile(
        "uint8",
        nodata=nodata,
        descriptions=("class",),
        legend=legend_of(classes),
        tags=tags(package),
        overview_resampling="mode",
    )


def score_profile(package: Package, names: tuple[str, ...]) -> RasterProfile:
    """A raster of probabilities, one band for each name."""
    return RasterProfile(
        "uint8",
        len(names),
        NODATA,
        names,
        scale=1.0 / PROBABILITY_LEVELS,
        tags=tags(package),
        overview_resampling="average",
        range=(0, PROBABILITY_LEVELS),
    )
