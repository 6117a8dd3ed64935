"""Every job over a scene has its task, and a new task is one entry."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import rasterio

from backend.command_line import arguments
from backend.protocol.jobs import ComputeSpec, EmbedJob, InputSpec, SceneJob
from backend.scene.chunks import ChunkStore
from backend.scene.run import RunFolder
from backend.tasks import embed, plan, scene
from backend.tasks.context import Context
from backend.tasks.table import TASKS
from backend.tasks.task import Setup, Task
from tests import packages
from tests.rasters import utm_grid, write_raster


@dataclass(frozen=True)
class LargestJob(EmbedJob):
    """The largest value of an embedding."""

    kind: ClassVar[str] = "largest"


def deliver(setup: Setup[embed.Embedding], folder: RunFolder, store: ChunkStore, context: Context) -> dict[str, float]:
    with rasterio.open(store.whole(embed.LAYER)) as dataset:
        return {"largest": float(np.nanmax(dataset.read(1)))}


def test_every_job_over_a_scene_has_a_task_and_a_command() -> None:
    assert set(TASKS) == set(typing.get_args(SceneJob))
    assert [job.kind for job in TASKS] == list(arguments.TASKS)


def test_a_new_task_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task("measuring", frozenset({"embed"}), embed.files, embed.work, deliver, lambda setup: False)
    monkeypatch.setitem(TASKS, LargestJob, task)
    encoder = packages.staged_encoder(tmp_path / "encoder")
    values = np.ones((1, 64, 64), np.float32)
    values[:, 8:16, 8:16] = 5
    raster = write_raster(tmp_path / "hr.tif", values, utm_grid(64, 64, pixel=1.0))
    inputs = (InputSpec("hr", (raster,), bands=("B1",)),)
    job = LargestJob(inputs, (str(encoder.root),), str(tmp_path / "e.tif"), compute=ComputeSpec("cpu"))
    scene.check(job)
    assert plan.plan(job)["task"] == "largest"
    assert scene.run(job, Context())["outputs"] == {"largest": pytest.approx(5.0)}
    assert not (tmp_path / "e.tif").exists()
