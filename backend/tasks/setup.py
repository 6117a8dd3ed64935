"""Everything that is known of a segmentation before the first pixel is computed; nothing is written here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from backend import __version__
from backend.manifest.load import load
from backend.manifest.package import Package
from backend.protocol.errors import PackageError, ParameterError
from backend.protocol.jobs import SegmentJob
from backend.runtime.assembly import Assembly, assemble
from backend.runtime.choice import Choice
from backend.runtime.model import Model, open_model
from backend.scene.memory import MemoryModel
from backend.scene.plan import SWATH_WIDTH, Plan, make_plan
from backend.scene.run import finished_description, stored_description
from backend.tasks.inputs import SlotInput, match_inputs
from backend.tasks.outputs import HeadFiles, check_outputs, head_files, space_warning
from backend.tasks.place import Place, describe_place, find_place

LEAST_MEMORY = 500_000_000


@dataclass(frozen=True)
class Setup:
    """A job that is ready to run.

    Attributes:
        job: what was asked for.
        output: main result, absolute.
        model: open sessions.
        inputs: the model's inputs.
        place: where it works.
        plan: the cut of the scene.
        heads: what is written.
        memory: what decides the run's memory.
    """

    job: SegmentJob
    output: Path
    model: Model
    inputs: tuple[SlotInput, ...]
    place: Place
    plan: Plan
    heads: tuple[HeadFiles, ...]
    memory: MemoryModel

    @property
    def packages(self) -> tuple[Package, ...]:
        """The packages whose outputs are written: the heads, or the bundle."""
        return tuple(head.package for head in self.heads)

    def warnings(self) -> list[str]:
        """What the user should know before the run."""
        area, swath = self.plan.area, max(s.reach - s.origin for s in self.plan.swaths)
        profiles = [profile for head in self.heads for profile in head.profiles.values()]
        notes = [warning for item in self.inputs for resolved in item.resolved for warning in resolved.warnings]
        notes += [self.place.note, space_warning(self.output.parent, area.width * area.height, profiles)]
        needed, budget = self.memory.bytes_for(swath), self.job.compute.memory
        if needed > budget:
            notes.append(
                f"the run needs about {needed / 1e9:.1f} GB of memory, more than the {budget / 1e9:.1f} GB that were "
                "allowed; a smaller --batch needs less"
            )
        return [note for note in dict.fromkeys(notes) if note]

    def describe(self) -> dict[str, Any]:
        """JSON values that decide the result's pixels."""
        job, swath = self.job, max(s.reach - s.origin for s in self.plan.swaths)
        return {
            "task": job.kind,
            "program": __version__,
            "libraries": {
                "numpy": np.__version__,
                "rasterio": rasterio.__version__,
                "gdal": rasterio.__gdal_version__,
                self.model.choice.runtime: _version(self.model.choice.runtime),
            },
            "models": [{"name": p.reference, "sha256": p.digest} for p in self.model.packages],
            "inputs": [item.describe() for item in self.inputs],
            "place": describe_place(self.place, job.area, job.mask),
            "tiling": {"window": self.plan.window, "stride": _stride(self.plan), "swath": swath},
            "compute": self.model.choice.to_dict(),
            "options": {"min_area_m2": job.min_area, "simplify_px": job.simplify, "polygons": job.polygons is not None},
            "layers": sorted(layer for head in self.heads for layer in head.profiles),
        }


@contextmanager
def set_up(job: SegmentJob) -> Iterator[Setup]:
    """Check a job, find its inputs, grid and area, open its model; the model is closed when the block is left.

    The model comes last: opening it may take seconds, after which nobody wants to read that a file name is wrong.

    Raises:
        InputError: whatever is wrong with the job; nothing was written.
    """
    _check_numbers(job)
    check_outputs(job)
    output = Path(job.output).absolute()
    assembly = assemble(tuple(load(name) for name in job.models))
    _check_classes(assembly)
    heads = head_files(job, assembly.producers, assembly.outputs)
    inputs = match_inputs(job.inputs, assembly.producers, assembly.inputs)
    place = find_place(inputs, job.grid, job.area)
    with open_model(assembly.packages, job.compute, _earlier_choice(job, output)) as model:
        memory = _memory(model, inputs, heads)
        plan = make_plan(
            place.scene,
            place.area,
            model.tiling.window,
            _wanted_stride(job, model),
            memory.swath_width(job.compute.memory, SWATH_WIDTH),
        )
        yield Setup(job, output, model, inputs, place, plan, heads, memory)


def _check_numbers(job: SegmentJob) -> None:
    if not job.inputs:
        raise ParameterError("no raster was given", "", "add one, as in --ms scene.tif")
    if not job.models or not all(job.models):
        raise ParameterError(
            "no model was given", "", 'add one, as in --model water-baseline-s2; "earthprism models list" shows all'
        )
    for name, value in (("minimum area", job.min_area), ("simplification", job.simplify)):
        if not 0 <= value < float("inf"):
            raise ParameterError(f"a {name} of {value} makes no sense", "it must be 0 or more")
    if job.overlap is not None and not 0 <= job.overlap < 1:
        raise ParameterError(f"an overlap of {job.overlap} makes no sense", "it must be at least 0 and less than 1")
    if job.compute.memory < LEAST_MEMORY:
        raise ParameterError(
            f"{job.compute.memory / 1e6:.0f} MB of memory are too little",
            "the libraries alone need 340 MB",
            "allow at least 500 MB",
        )
    if job.compute.batch < 0:
        raise ParameterError(f"a batch of {job.compute.batch} makes no sense", "it must be 1 or more; 0 chooses")


def _check_classes(assembly: Assembly) -> None:
    """Refuse an encoder without a head."""
    if not assembly.outputs:
        name = assembly.base.reference
        raise PackageError(f"{name} gives no classes", "it is an encoder", "add a head of it with a second --model")


def _earlier_choice(job: SegmentJob, output: Path) -> Choice | None:
    """How an earlier run computed, where the job leaves that open: "auto" is decided once."""
    if job.if_exists != "resume":
        return None
    stored = stored_description(output)
    description = stored["description"] if stored else finished_description(output, ("compute",))
    if description is None:
        return None
    choice = Choice.from_dict(description["compute"])
    asked = job.compute
    same = (
        asked.device in ("auto", choice.device)
        and asked.precision in ("auto", choice.precision)
        and asked.runtime in ("auto", choice.runtime)
        and asked.batch in (0, choice.batch)
    )
    return choice if same else None


def _wanted_stride(job: SegmentJob, model: Model) -> int:
    """Distance of windows: the package's or the user's overlap, as a multiple of the model's divisor."""
    window, multiple = model.tiling.window, max(1, model.tiling.multiple)
    stride = window - 2 * model.tiling.margin if job.overlap is None else round(window * (1 - job.overlap))
    return max(multiple, stride // multiple * multiple)


def _stride(plan: Plan) -> int:
    """Distance of the first two windows along the longer axis."""
    starts = max(plan.cols.starts, plan.rows.starts, key=len)
    return starts[1] - starts[0] if len(starts) > 1 else plan.window


def _memory(model: Model, inputs: tuple[SlotInput, ...], heads: tuple[HeadFiles, ...]) -> MemoryModel:
    bands = sum(len(item.slot.bands) * len(item.resolved) for item in inputs)
    channels = sum(head.output.rule.channels for head in heads)
    stored = sum(file.stat().st_size for p in model.packages for file in p.root.iterdir() if file.is_file())
    return MemoryModel(bands, channels, model.tiling.window, model.choice.batch, 2 * stored)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
