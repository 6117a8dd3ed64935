"""What a job would do: tiles, memory, time, warnings; nothing is written."""

from __future__ import annotations

from typing import Any

from backend.geo.env import gdal_environment
from backend.protocol.errors import ResumeError
from backend.protocol.jobs import SceneJob
from backend.runtime.model import measure
from backend.scene.pipeline import windows_touched
from backend.tasks.filters import open_filters
from backend.tasks.outputs import check_untouched
from backend.tasks.setup import set_up
from backend.tasks.task import Setup

# Reading, blending and writing run beside the model; what remains visible of them is at most this share (see the
# benchmark "scene").
OVERHEAD = 1.15


def plan(job: SceneJob) -> dict[str, Any]:
    """Estimate a job from a short measured warm-up of its model.

    Raises:
        InputError: as the job itself would.
    """
    with gdal_environment(), set_up(job) as setup:
        with open_filters(setup.place, job.mask) as filters:
            windows = windows_touched(setup.plan, filters)
        dates = {item.slot.name: len(item.resolved) for item in setup.inputs}
        seconds = measure(setup.model, dates=dates) * windows * OVERHEAD
        grid = setup.grid
        return {
            "task": job.kind,
            "models": [package.reference for package in setup.packages],
            "width": grid.width,
            "height": grid.height,
            "crs": grid.crs.to_string(),
            "pixel_size": list(grid.pixel_size),
            "pixel_size_m": list(grid.pixel_size_m()),
            "bounds": list(grid.bounds),
            "window": setup.plan.window,
            "windows": windows,
            "chunks": sum(1 for _ in setup.plan.chunks()),
            "memory_bytes": setup.memory.bytes_for(setup.swath),
            "seconds": round(seconds, 1),
            "compute": setup.model.choice.to_dict(),
            "inputs": [
                {"slot": item.slot.name, "sensor": r.sensor, "date": r.date}
                for item in setup.inputs
                for r in item.resolved
            ],
            "warnings": [*setup.warnings(), *_taken(setup)],
        }


def _taken(setup: Setup) -> list[str]:
    """What the job itself would refuse because it exists already; nothing where the job may go on or start again."""
    if setup.job.if_exists != "refuse":
        return []
    try:
        check_untouched(setup.results, setup.output)
    except ResumeError as error:
        return [error.sentence()]
    return []
