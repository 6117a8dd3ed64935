"""What a task over a scene is: how a job becomes work for the engine, and how finished chunks become files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import rasterio

from backend import __version__
from backend.geo.grid import Grid
from backend.manifest.package import Package, Tiling
from backend.protocol.jobs import SceneJob
from backend.runtime.assembly import Assembly
from backend.runtime.model import Model
from backend.scene.chunks import ChunkStore
from backend.scene.memory import MemoryModel
from backend.scene.plan import Plan
from backend.scene.run import RunFolder
from backend.scene.strips import Feed
from backend.tasks.context import Context
from backend.tasks.inputs import SlotInput
from backend.tasks.outputs import NamedFile, ResultFiles, space_warning
from backend.tasks.place import Place, describe_place

R = TypeVar("R", bound=ResultFiles)


@dataclass(frozen=True)
class Work(Generic[R]):
    """What a job asks of its packages.

    Attributes:
        results: what is written.
        tiling: how the scene is cut, in pixels of the results.
        features: features of the encoder that are results.
        options: what else decides the results, as JSON values.
        both_dates: whether the model runs on two dates, see `backend.runtime.two_dates`.
        combine: makes one array per result, (batch, channels, window, window), of what the model gives of a batch of
            windows; None where the model gives just these.
    """

    results: tuple[R, ...]
    tiling: Tiling
    features: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    both_dates: bool = False
    combine: Callable[[list[np.ndarray]], list[np.ndarray]] | None = None


@dataclass(frozen=True)
class Setup(Generic[R]):
    """A job that is ready to run.

    Attributes:
        job: what was asked for.
        output: main result, absolute.
        model: open sessions.
        inputs: the model's inputs.
        place: where it works.
        plan: the cut of the scene.
        feeds: what the pipeline reads.
        work: what is asked of the packages.
        memory: what decides the run's memory.
    """

    job: SceneJob
    output: Path
    model: Model
    inputs: tuple[SlotInput, ...]
    place: Place
    plan: Plan
    feeds: tuple[Feed, ...]
    work: Work[R]
    memory: MemoryModel

    @property
    def results(self) -> tuple[R, ...]:
        """What is written."""
        return self.work.results

    @property
    def packages(self) -> tuple[Package, ...]:
        """The packages whose outputs are written: the heads, the bundle or the encoder."""
        return tuple(result.package for result in self.results)

    @property
    def grid(self) -> Grid:
        """Grid of the final files."""
        return self.place.result or self.plan.output_grid

    @property
    def swath(self) -> int:
        """Width of the widest swath in pixels of the results, windows that reach over its border included."""
        return max(swath.reach - swath.origin for swath in self.plan.swaths)

    def warnings(self) -> list[str]:
        """What the user should know before the run."""
        area = self.plan.area
        profiles = [profile for result in self.results for profile in result.profiles.values()]
        notes = notes_on(self.inputs, self.place)
        notes.append(space_warning(self.output.parent, area.width * area.height, profiles))
        needed, budget = self.memory.bytes_for(self.swath), self.job.compute.memory
        if needed > budget:
            notes.append(
                f"the run needs about {needed / 1e9:.1f} GB of memory, more than the {budget / 1e9:.1f} GB that were "
                "allowed; a smaller --batch needs less"
            )
        return [note for note in notes if note]

    def describe(self) -> dict[str, Any]:
        """JSON values that decide the result's pixels."""
        return {
            "task": self.job.kind,
            "program": __version__,
            "libraries": {
                "numpy": np.__version__,
                "rasterio": rasterio.__version__,
                "gdal": rasterio.__gdal_version__,
                self.model.choice.runtime: _version(self.model.choice.runtime),
            },
            "models": [{"name": p.reference, "sha256": p.digest} for p in self.model.packages],
            "inputs": [item.describe() for item in self.inputs],
            "place": describe_place(self.place, self.job.area, self.job.mask),
            "tiling": {"window": self.plan.window, "stride": _stride(self.plan), "swath": self.swath},
            "compute": self.model.choice.to_dict(),
            "options": dict(self.work.options),
            "layers": sorted(layer for result in self.results for layer in result.profiles),
        }


@dataclass(frozen=True)
class Task(Generic[R]):
    """A kind of job over a scene; `backend.tasks.table` lists them.

    Attributes:
        doing: what is being done, for whoever reads the progress.
        packages: tasks of the packages that it takes.
        files: the files that a job names.
        work: what a job asks of the packages; raises `InputError` for what is wrong with it as far as only this task
            knows.
        deliver: makes the results from finished chunks, gives them by kind; nothing incomplete carries a final name.
        is_empty: whether the finished result holds nodata only.
    """

    doing: str
    packages: frozenset[str]
    files: Callable[[Any], Sequence[NamedFile]]
    work: Callable[[Any, Assembly], Work[R]]
    deliver: Callable[[Setup[R], RunFolder, ChunkStore, Context], dict[str, Any]]
    is_empty: Callable[[Setup[R]], bool]


def notes_on(inputs: Sequence[SlotInput], place: Place) -> list[str]:
    """What the user should know about the inputs and what becomes of them, each thing once."""
    notes = [warning for item in inputs for resolved in item.resolved for warning in resolved.warnings]
    notes += [note for item in inputs for note in item.notes]
    return list(dict.fromkeys([*notes, *place.notes]))


def _stride(plan: Plan) -> int:
    """Distance of the first two windows along the longer axis."""
    starts = max(plan.cols.starts, plan.rows.starts, key=len)
    return starts[1] - starts[0] if len(starts) > 1 else plan.window


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
