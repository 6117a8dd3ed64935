"""Everything that is known of a job over a scene before the first pixel is computed; nothing is written here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from backend.manifest.load import load
from backend.manifest.package import InputSlot, Tiling
from backend.protocol.errors import PackageError, ParameterError
from backend.protocol.jobs import SceneJob
from backend.runtime.assembly import Assembly, assemble
from backend.runtime.choice import Choice, stored_bytes
from backend.runtime.model import Model, Wish, open_model
from backend.runtime.two_dates import slots_of_both, undated
from backend.scene.memory import MemoryModel
from backend.scene.plan import SWATH_WIDTH, make_plan
from backend.scene.run import finished_description, stored_description
from backend.scene.strips import Feed
from backend.tasks.inputs import OPTIONS, TITLES, SlotInput, match_inputs
from backend.tasks.outputs import check_outputs
from backend.tasks.place import Place, find_place
from backend.tasks.series import arrange_series
from backend.tasks.table import task_of
from backend.tasks.task import Setup, Work

LEAST_MEMORY = 500_000_000


@dataclass(frozen=True)
class Checked:
    """A job that is in order as far as that shows without its model.

    Attributes:
        job: what was asked for.
        output: main result, absolute.
        assembly: its packages.
        work: what is asked of them.
        inputs: the model's inputs.
        place: where it works.
        earlier: how an earlier run computed that it continues, None where that is open.
    """

    job: SceneJob
    output: Path
    assembly: Assembly
    work: Work
    inputs: tuple[SlotInput, ...]
    place: Place
    earlier: Choice | None


def check(job: SceneJob) -> Checked:
    """Check a job, find its inputs, grid and area; needs no device.

    Raises:
        InputError: whatever is wrong with the job; nothing was written.
    """
    _check_numbers(job)
    task = task_of(job)
    check_outputs(job, task.files(job))
    output = Path(job.output).absolute()
    assembly = assemble(tuple(load(name) for name in job.models))
    work = task.work(job, assembly)
    inputs = arrange_series(match_inputs(job.inputs, assembly.producers, _slots(job, assembly, work)))
    _check_sizes(inputs, work)
    place = find_place(inputs, job.grid, job.area, work.tiling.window)
    return Checked(job, output, assembly, work, inputs, place, _earlier_choice(job, output))


@contextmanager
def set_up(job: SceneJob) -> Iterator[Setup]:
    """Check a job, then open its model; the model is closed when the block is left.

    The model comes last: opening it may take seconds, after which nobody wants to read that a file name is wrong.

    Raises:
        InputError: whatever is wrong with the job; nothing was written.
    """
    checked = check(job)
    assembly, work, inputs, place = checked.assembly, checked.work, checked.inputs, checked.place
    window, base = work.tiling.window, assembly.base
    cells = base.feature(base.joins[0]).size if base.staged else 0
    feeds = tuple(item.feed(window, cells) for item in inputs)
    wish = Wish(frozenset(item.slot.name for item in inputs), work.features, work.both_dates)
    with open_model(assembly.packages, job.compute, checked.earlier, wish) as model:
        memory = _memory(model, inputs, feeds, work)
        multiple = math.lcm(*(feed.multiple for feed in feeds))
        swath = memory.swath_width(job.compute.memory, max(window, SWATH_WIDTH // _finest(feeds)))
        plan = make_plan(
            place.scene,
            place.area,
            window,
            _wanted_stride(job, work.tiling, multiple),
            swath,
            memory.chunk_rows(swath),
            multiple,
        )
        yield Setup(job, checked.output, model, inputs, place, plan, feeds, work, memory)


def _slots(job: SceneJob, assembly: Assembly, work: Work) -> tuple[InputSlot, ...]:
    """The inputs that matter, of both dates where there are two."""
    slots = _slots_of_date(job, assembly, work)
    return slots_of_both(slots) if work.both_dates else slots


def _slots_of_date(job: SceneJob, assembly: Assembly, work: Work) -> tuple[InputSlot, ...]:
    """The inputs that matter: of a feature that one input gives, that one alone.

    Raises:
        ParameterError: another input was given.
    """
    names = {assembly.base.feature(name).slot for name in work.features} - {""}
    if not names:
        return assembly.inputs
    slots = tuple(replace(slot, required=True) for slot in assembly.inputs if slot.name in names)
    modalities = {slot.modality for slot in slots}
    for spec in job.inputs:
        if spec.modality not in modalities:
            kinds = " and ".join(TITLES[name] for name in sorted(modalities))
            raise ParameterError(
                f"{' and '.join(work.features)} is made of the {kinds} input alone",
                f'"{spec.paths[0]}" ({OPTIONS[spec.modality]}) would not be looked at',
                "leave it out, or choose another feature",
            )
    return slots


def _check_sizes(inputs: Sequence[SlotInput], work: Work) -> None:
    """Refuse what the engine cannot lay pixel on pixel."""
    for slot in (item.slot for item in inputs):
        if slot.size % work.tiling.window and work.tiling.window % slot.size:
            raise PackageError(
                f"{work.results[0].package.reference} cannot be run over a scene",
                f'the {slot.size} pixels of its input "{slot.name}" and the {work.tiling.window} of its result are no '
                "whole multiple of each other",
                "choose another model, or another feature of it" if work.features else "choose another model",
            )


def _finest(feeds: Sequence[Feed]) -> int:
    """Most pixels of an input for one of the result: swaths are as wide as the finest input can bear."""
    return max(1, *(math.ceil(feed.ratio) for feed in feeds))


def _check_numbers(job: SceneJob) -> None:
    if not job.inputs:
        raise ParameterError("no raster was given", "", "add one, as in --ms scene.tif")
    if not job.models or not all(job.models):
        raise ParameterError(
            "no model was given", "", 'add one, as in --model water-baseline-s2; "earthprism models list" shows all'
        )
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


def _earlier_choice(job: SceneJob, output: Path) -> Choice | None:
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


def _wanted_stride(job: SceneJob, tiling: Tiling, least: int) -> int:
    """Distance of windows: the package's or the user's overlap, as a multiple of the model's divisor and of `least`."""
    window, multiple = tiling.window, math.lcm(max(1, tiling.multiple), least)
    stride = window - 2 * tiling.margin if job.overlap is None else round(window * (1 - job.overlap))
    return max(multiple, stride // multiple * multiple)


def _memory(model: Model, inputs: Sequence[SlotInput], feeds: Sequence[Feed], work: Work) -> MemoryModel:
    bands = sum(
        math.ceil(len(item.slot.bands) * len(item.resolved) * feed.ratio**2)
        for item, feed in zip(inputs, feeds, strict=True)
    )
    channels = sum(head.output.channels for head in work.results)
    written = sum(p.count * np.dtype(p.dtype).itemsize for head in work.results for p in head.profiles.values())
    given = {undated(item.slot.name) if work.both_dates else item.slot.name for item in inputs}
    stored = sum(stored_bytes(package, model.choice, given) for package in model.packages)
    return MemoryModel(bands, channels, work.tiling.window, model.choice.batch, 2 * stored, written)
