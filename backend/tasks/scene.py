"""Carrying out a job over a scene, whatever it makes: set up, compute chunk by chunk, deliver."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np

from backend.geo.env import gdal_environment
from backend.geo.grid import Window
from backend.protocol.errors import EarthPrismError
from backend.protocol.jobs import SceneJob
from backend.runtime.choice import candidates
from backend.scene.chunks import ChunkStore
from backend.scene.pipeline import SceneRun, run_scene, windows_to_do
from backend.scene.run import RunFolder, check_same, clear_removed, finished_description, open_run
from backend.scene.score import Scorer
from backend.tasks import setup as setup_of
from backend.tasks.companions import companion_feeds
from backend.tasks.context import Context
from backend.tasks.filters import open_filters
from backend.tasks.heap import give_back
from backend.tasks.outputs import check_missing, check_untouched, result_files
from backend.tasks.setup import set_up
from backend.tasks.table import task_of
from backend.tasks.task import Setup

NOTHING_VALID = (
    "the rasters have no valid pixel here, so the result holds nodata only; look at their nodata values, the mask and "
    "the area"
)


def check(job: SceneJob) -> None:
    """Refuse a job that cannot be done, before anybody waits for a device; opens no model, writes nothing.

    Raises:
        InputError: what is wrong with it.
    """
    with gdal_environment():
        checked = setup_of.check(job)
        if job.if_exists == "refuse":
            check_untouched(checked.work.results, checked.output)
        with open_filters(checked.place, job.mask):
            candidates(checked.assembly, job.compute)


def run(job: SceneJob, context: Context) -> dict[str, Any]:
    """Compute a scene and write what the job asks for.

    Returns:
        what was written and how: paths by kind, windows computed, seconds, device, precision.

    Raises:
        InputError: the job cannot be done as given; nothing was written.
        OutputError, SourceError: reading or writing failed on the way; finished chunks are kept.
        Cancelled: finished chunks are kept.
    """
    with gdal_environment(), set_up(job) as setup, _interruptible(setup, context):
        context.check()
        return execute(setup, context, release=True)


def execute(setup: Setup, context: Context, release: bool = False) -> dict[str, Any]:
    """Run a job that is set up; see `run`.

    Args:
        release: close the model before the final files are made: what it holds would lie beside what that takes.
    """
    started, job, task = time.monotonic(), setup.job, task_of(setup.job)
    files = result_files(setup.results, setup.output)
    if job.if_exists == "refuse":
        check_untouched(setup.results, setup.output)
    clear_removed(setup.output)
    if job.if_exists == "resume" and _is_finished(setup):
        check_missing(chain(*files.values()))
        context.log("the result is complete, nothing is left to do")
        return _result(setup, {kind: [str(path) for path in paths] for kind, paths in files.items()}, started, 0)
    warnings = setup.warnings()
    for warning in warnings:
        context.warn(warning)
    with open_filters(setup.place, job.mask) as filters:
        folder = open_run(setup.output, setup.describe(), job.if_exists)
        with _clean_up_if_empty(folder):
            store = ChunkStore(folder.path, folder.run_id, setup.plan, _layers(setup))
            scene = SceneRun(
                setup.plan,
                setup.feeds,
                filters,
                _scorer(setup),
                setup.model.choice.batch,
                tuple(result.output for result in setup.results),
            )
            reporter = _Reporter(setup, store, context, task.doing)
            run_scene(scene, store, reporter)
            if release:
                setup.model.close()
                give_back()
            found = task.deliver(setup, folder, store, context)
    folder.remove()
    if task.is_empty(setup):
        warnings.append(NOTHING_VALID)
        context.warn(NOTHING_VALID)
    return _result(setup, found, started, reporter.computed, warnings)


def _is_finished(setup: Setup) -> bool:
    """Whether the very same run has ended already.

    Raises:
        ResumeError: another run has made the result that is there.
    """
    description = setup.describe()
    finished = finished_description(setup.output, description)
    if finished is None:
        return False
    check_same(finished, description)
    return True


def _layers(setup: Setup) -> dict[str, Any]:
    return {layer: profile for result in setup.results for layer, profile in result.profiles.items()}


def _scorer(setup: Setup) -> Scorer:
    companions = companion_feeds(setup.inputs, setup.feeds)

    def score(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        found = setup.model.run({**feeds, **companions(len(next(iter(feeds.values()))))})
        return found if setup.work.combine is None else setup.work.combine(found)

    return score


def _result(
    setup: Setup, found: Mapping[str, Any], started: float, windows: int, warnings: Sequence[str] = ()
) -> dict[str, Any]:
    choice = setup.model.choice
    return {
        "outputs": dict(found),
        "windows": windows,
        "seconds": round(time.monotonic() - started, 2),
        "compute": choice.to_dict(),
        "models": [package.reference for package in setup.packages],
        "warnings": list(warnings),
    }


@contextmanager
def _interruptible(setup: Setup, context: Context) -> Iterator[None]:
    """A cancelled job interrupts the model in the middle of a batch."""
    take_back = context.on_cancel(setup.model.interrupt)
    try:
        yield
    finally:
        take_back()


@contextmanager
def _clean_up_if_empty(folder: RunFolder) -> Iterator[None]:
    """A run that fails before its first chunk leaves nothing behind."""
    try:
        yield
    except EarthPrismError:
        if not any(folder.path.rglob("*.tif")):
            folder.remove()
        raise


class _Reporter:
    """Tells the job's context how the pipeline goes."""

    def __init__(self, setup: Setup, store: ChunkStore, context: Context, doing: str) -> None:
        self._setup, self._store, self._context, self._doing = setup, store, context, doing
        self._total = setup.plan.windows
        self._done = max(0, self._total - windows_to_do(setup.plan, store))
        self._news: list[Window] = []
        self.computed = 0
        context.progress(self._doing, self._done, self._total)

    def advanced(self, windows: int, computed: int) -> None:
        self.computed += computed
        self._done = min(self._total, self._done + windows)
        self._context.progress(self._doing, self._done, self._total)

    def written(self, window: Window) -> None:
        self._news.append(window)

    def published(self) -> None:
        for window in self._news:
            for layer in _layers(self._setup):
                place = (window.col, window.row, window.width, window.height)
                self._context.chunk(layer, str(self._store.vrt(layer)), place)
        self._news.clear()

    def check(self) -> None:
        self._context.check()
