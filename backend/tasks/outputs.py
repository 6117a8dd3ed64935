"""Where results go: names that can be used, the files of a result, what is there already."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import ClassVar

import numpy as np

from backend import __version__
from backend.geo.writer import Legend, LegendClass, RasterProfile
from backend.manifest.package import ClassInfo, Package
from backend.protocol.errors import OutputError, ParameterError, ResumeError
from backend.protocol.jobs import SceneJob
from backend.scene.finish import ResultKind
from backend.scene.run import parts_folder, run_file

RASTER_SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True)
class NamedFile:
    """A file that a job names: by which option, its name, None where it is not wanted, and the allowed suffixes."""

    option: str
    name: str | None
    suffixes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ResultFiles:
    """The files of one result: of a head, a bundle or a feature of an encoder.

    Attributes:
        kinds: of files that there may be.
        package: what gives the result.
        output: what the engine writes of it.
        profiles: kind of raster by layer name, in the order in which they are written.
        targets: final name by layer name, the main raster's first.
        classes: legend of the main raster, in the order of its rule; empty where it holds no classes.
        polygons: final name of the GeoPackage, None for none.
        derived: kind of raster by layer name, of those in `targets` that are made at the end from others.
    """

    kinds: ClassVar[tuple[str, ...]] = ()

    package: Package
    output: ResultKind
    profiles: dict[str, RasterProfile]
    targets: dict[str, Path]
    classes: tuple[ClassInfo, ...] = ()
    polygons: Path | None = None
    derived: dict[str, RasterProfile] = field(default_factory=dict)

    @property
    def layer(self) -> str:
        """Layer name of the main raster."""
        return next(iter(self.targets))

    @property
    def target(self) -> Path:
        """Final name of the main raster."""
        return self.targets[self.layer]

    @property
    def legend(self) -> Legend:
        """Class values, names and colours."""
        return legend_of(self.classes)


def legend_of(classes: Sequence[ClassInfo]) -> Legend:
    """The raster legend of a package's classes."""
    return Legend(tuple(LegendClass(c.value, c.name, c.rgb) for c in classes))


def tags(package: Package) -> dict[str, str]:
    """What a raster says of where it came from."""
    return {
        "EARTHPRISM_VERSION": __version__,
        "EARTHPRISM_MODEL": package.reference,
        "EARTHPRISM_MODEL_SHA256": package.digest,
    }


def check_outputs(job: SceneJob, files: Sequence[NamedFile]) -> None:
    """Refuse file names that cannot be used, before anything is computed.

    Raises:
        ParameterError, OutputError: a name that is wrong, taken, or lies where nothing can be written.
    """
    seen: dict[Path, str] = {}
    inputs = {Path(read).resolve() for read in _files_read(job)}
    for file in files:
        if file.name is None:
            continue
        path = Path(file.name).resolve()
        if path in seen:
            raise ParameterError(
                f"{file.option} and {seen[path]} name the same file", file.name, "give each its own name"
            )
        _check_name(file, file.name, inputs)
        seen[path] = file.option


def _check_name(file: NamedFile, name: str, inputs: AbstractSet[Path]) -> None:
    path = Path(name).resolve()
    if Path(name).suffix.lower() not in file.suffixes:
        raise ParameterError(f'"{name}" is no name for {file.option}', f"it must end in {' or '.join(file.suffixes)}")
    if path in inputs:
        raise ParameterError(f'{file.option} "{name}" would overwrite an input', "", "choose another name")
    if not inputs.isdisjoint(path.parents):
        raise ParameterError(
            f'{file.option} "{name}" lies in the folder of an input',
            "a later run would take it for one of the input's files",
            "choose another folder",
        )
    _check_folder(path.parent)
    if path.is_dir():
        raise OutputError(f'"{name}" is a folder', "", "choose a file name")


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise OutputError(f'the folder "{folder}" does not exist', "", "make it or choose another output")
    if not os.access(folder, os.W_OK):
        raise OutputError(f'the folder "{folder}" cannot be written', "permission denied", "choose another output")


def item_file(output: Path) -> Path:
    """Where the STAC item of a result lies."""
    return output.with_name(f"{output.stem}.stac.json")


def result_files(results: Sequence[ResultFiles], output: Path) -> dict[str, list[Path]]:
    """Every file that a job leaves, by kind."""
    found: dict[str, list[Path]] = {kind: [] for result in results for kind in result.kinds}
    for result in results:
        for layer, path in result.targets.items():
            found[kind_of(layer)].append(path)
        if result.polygons is not None:
            found["polygons"].append(result.polygons)
    return {**found, "run": [run_file(output)], "stac": [item_file(output)]}


def kind_of(layer: str) -> str:
    """Which kind of file a layer becomes: its name without the model's."""
    return layer.rpartition("/")[2]


def check_untouched(results: Sequence[ResultFiles], output: Path) -> None:
    """Refuse a job of which anything is there already: a result, its description, parts of an earlier run.

    Raises:
        ResumeError: naming every file and folder that exists.
    """
    check_free([*chain(*result_files(results, output).values()), parts_folder(output)])


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
