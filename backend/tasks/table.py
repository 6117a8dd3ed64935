"""The tasks over a scene, by their job. A new one is a module, an entry here and a job of the protocol."""

from __future__ import annotations

from typing import Any

from backend.protocol.jobs import ChangeJob, EmbedJob, SceneJob, SegmentJob
from backend.tasks import change, embed, segment
from backend.tasks.task import Task

TASKS: dict[type[SceneJob], Task[Any]] = {SegmentJob: segment.TASK, EmbedJob: embed.TASK, ChangeJob: change.TASK}


def task_of(job: SceneJob) -> Task[Any]:
    """The task that does a job."""
    return TASKS[type(job)]
