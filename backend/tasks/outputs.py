"""Where results go and what kind of rasters they are."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend import __version__
from backend.geo.writer import Legend, LegendClass, RasterProfile
from backend.manifest.package import ClassInfo, Feature, Output, Package
from backend.protocol.errors import OutputError, PackageError, ParameterError, ResumeError
from backend.protocol.jobs import EmbedJob, SceneJob, SegmentJob
from backend.scene.decide import NODATA, PROBABILITY_LEVELS, ClassRule
from backend.scene.finish import FeatureOutput, HeadOutput
from backend.scene.run import run_file

RASTER_SUFFIXES = (".tif", ".tiff")
BACKGROUND_COLOR = "#d9d9d9"


@dataclass(frozen=True)
class HeadFiles:
    """The results of one head.

    Attributes:
        package: the head, or the bundle.
        classes: legend of the class raster, in the order of the rule's values.
        output: what the engine writes.
        profiles: kind of raster by layer name.
        targets: final name by layer name.
        polygons: final name of the GeoPackage, None for none.
    """

    package: Package
    classes: tuple[ClassInfo, ...]
    output: HeadOutput
    profiles: dict[str, RasterProfile]
    targets: dict[str, Path]
    polygons: Path | None

    @property
    def legend(self) -> Legend:
        """Class values, names and colours."""
        return legend_of(self.classes)


@dataclass(frozen=True)
class FeatureFiles:
    """The result of an embedding.

    Attributes:
        package: the encoder.
        output: what the engine writes.
        profiles: kind of raster by layer name.
        targets: final name by layer name.
        polygons: None; an embedding has none.
    """

    package: Package
    output: FeatureOutput
    profiles: dict[str, RasterProfile]
    targets: dict[str, Path]
    polygons: None = None


ResultFiles = HeadFiles | FeatureFiles


def feature_files(job: EmbedJob, package: Package, feature: Feature) -> tuple[FeatureFiles]:
    """Everything that an embedding writes."""
    names = tuple(f"{feature.name} {number + 1}" for number in range(feature.channels))
    profile = RasterProfile(
        "float32", feature.channels, math.nan, names, tags=_tags(package), overview_resampling="average"
    )
    output = FeatureOutput("embedding", feature.channels)
    target = Path(job.output).absolute()
    return (FeatureFiles(package, output, {"embedding": profile}, {"embedding": target}),)


def legend_of(classes: Sequence[ClassInfo]) -> Legend:
    """The raster legend of a package's classes."""
    return Legend(tuple(LegendClass(c.value, c.name, c.rgb) for c in classes))


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


def head_files(job: SegmentJob, packages: Sequence[Package], outputs: Sequence[Output]) -> tuple[HeadFiles, ...]:
    """Everything that the job writes, head by head; several heads get their model's name into the file names."""
    heads = []
    for package, output in zip(packages, outputs, strict=True):
        rule, classes = class_rule(output, package)
        several = len(packages) > 1
        prefix = f"{package.name}/" if several else ""
        layers = [
            ("classes", job.output, _class_profile(classes, rule, package)),
            ("confidence", job.confidence, _score_profile(package, ("confidence",))),
            ("probabilities", job.probabilities, _score_profile(package, tuple(c.name for c in classes))),
        ]
        named = {kind: prefix + kind for kind, path, _ in layers if path is not None}
        # The class raster is written last: a chunk counts as finished when it is there.
        profiles = {prefix + kind: profile for kind, path, profile in reversed(layers) if path is not None}
        targets = {prefix + kind: _target(path, package.name, several) for kind, path, _ in layers if path is not None}
        head = HeadOutput(rule, named["classes"], named.get("confidence"), named.get("probabilities"))
        polygons = None if job.polygons is None else _target(job.polygons, package.name, several)
        heads.append(HeadFiles(package, classes, head, profiles, targets, polygons))
    return tuple(heads)


def _target(path: str, name: str, several: bool) -> Path:
    target = Path(path).absolute()
    return target.with_name(f"{target.stem}-{name}{target.suffix}") if several else target


def _class_profile(classes: Sequence[ClassInfo], rule: ClassRule, package: Package) -> RasterProfile:
    return RasterProfile(
        "uint8",
        nodata=rule.nodata,
        descriptions=("class",),
        legend=legend_of(classes),
        tags=_tags(package),
        overview_resampling="mode",
    )


def _score_profile(package: Package, names: tuple[str, ...]) -> RasterProfile:
    return RasterProfile(
        "uint8",
        len(names),
        NODATA,
        names,
        scale=1.0 / PROBABILITY_LEVELS,
        tags=_tags(package),
        overview_resampling="average",
        range=(0, PROBABILITY_LEVELS),
    )


def _tags(package: Package) -> dict[str, str]:
    return {
        "EARTHPRISM_VERSION": __version__,
        "EARTHPRISM_MODEL": package.reference,
        "EARTHPRISM_MODEL_SHA256": package.digest,
    }


def _named_outputs(job: SceneJob) -> list[tuple[str, str | None, tuple[str, ...]]]:
    """Option, file name and allowed suffixes of everything that a job writes."""
    if isinstance(job, EmbedJob):
        return [("--output", job.output, RASTER_SUFFIXES)]
    return [
        ("--output", job.output, RASTER_SUFFIXES),
        ("--confidence", job.confidence, RASTER_SUFFIXES),
        ("--probabilities", job.probabilities, RASTER_SUFFIXES),
        ("--polygons", job.polygons, (".gpkg",)),
    ]


def check_outputs(job: SceneJob) -> None:
    """Refuse file names that cannot be used, before anything is computed.

    Raises:
        ParameterError, OutputError, ResumeError: a name that is wrong, taken, or lies where nothing can be written.
    """
    seen: dict[Path, str] = {}
    inputs = {Path(read).resolve() for read in _files_read(job)}
    for option, name, suffixes in _named_outputs(job):
        if name is None:
            continue
        path = Path(name).resolve()
        if Path(name).suffix.lower() not in suffixes:
            raise ParameterError(f'"{name}" is no name for {option}', f"it must end in {' or '.join(suffixes)}")
        if path in seen:
            raise ParameterError(f"{option} and {seen[path]} name the same file", name, "give each its own name")
        if path in inputs:
            raise ParameterError(f'{option} "{name}" would overwrite an input', "", "choose another name")
        if inputs.intersection(path.parents):
            raise ParameterError(
                f'{option} "{name}" lies in the folder of an input',
                "a later run would take it for one of the input's files",
                "choose another folder",
            )
        seen[path] = option
        _check_folder(path)
        if path.is_dir():
            raise OutputError(f'"{name}" is a folder', "", "choose a file name")


def _check_folder(path: Path) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(f'the folder "{folder}" does not exist', "", "make it or choose another output")
    if not os.access(folder, os.W_OK):
        raise OutputError(f'the folder "{folder}" cannot be written', "permission denied", "choose another output")


def item_file(output: Path) -> Path:
    """Where the STAC item of a result lies."""
    return output.with_name(f"{output.stem}.stac.json")


def result_files(heads: Sequence[ResultFiles], output: Path) -> dict[str, list[Path]]:
    """Every file that a job leaves, by kind."""
    maps = any(isinstance(head, HeadFiles) for head in heads)
    kinds = ("classes", "confidence", "probabilities", "polygons") if maps else ("embedding",)
    found: dict[str, list[Path]] = {kind: [] for kind in kinds}
    for head in heads:
        for layer, path in head.targets.items():
            found[layer.rpartition("/")[2]].append(path)
        if head.polygons is not None:
            found["polygons"].append(head.polygons)
    return {**found, "run": [run_file(output)], "stac": [item_file(output)]}


def check_free(paths: Iterable[Path]) -> None:
    """Refuse to touch what is there already.

    Raises:
        ResumeError: naming every file and folder that exists.
    """
    existing = [f'"{path}"' for path in paths if path.exists()]
    if existing:
        raise ResumeError(
            f"{' and '.join(existing)} exist{'s' if len(existing) == 1 else ''} already",
            "",
            "use --resume to continue an unfinished run, --overwrite to start again, or another output",
        )


def check_missing(paths: Iterable[Path]) -> None:
    """Refuse to call a result complete of which files are gone.

    Raises:
        ResumeError: naming the files.
    """
    missing = [f'"{path}"' for path in paths if not path.exists()]
    if missing:
        raise ResumeError(
            f"of the finished result {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing",
            "the parts that it was made from are no longer there",
            "use --overwrite to start again",
        )


def _files_read(job: SceneJob) -> Iterator[str]:
    """Names of the files and folders that a job reads."""
    for spec in job.inputs:
        yield from spec.paths
    if job.mask is not None:
        yield job.mask.path
    if job.grid.reference not in ("finest", "model"):
        yield job.grid.reference
    if job.area.aoi is not None:
        yield job.area.aoi.partition("|")[0]


def space_warning(folder: Path, pixels: int, profiles: Sequence[RasterProfile]) -> str:
    """A warning when the disk may be too small for the result and its parts; "" otherwise."""
    needed = 2 * pixels * sum(profile.count * np.dtype(profile.dtype).itemsize for profile in profiles)
    free = shutil.disk_usage(folder).free
    if needed <= free:
        return ""
    return (
        f"the disk may become full: up to {needed / 1e9:.1f} GB are needed without compression, "
        f"{free / 1e9:.1f} GB are free; a run that stops can be resumed"
    )
