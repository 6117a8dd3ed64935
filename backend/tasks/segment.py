"""Class map of a scene."""

from __future__ import annotations

from typing import Any

from backend.protocol.jobs import SegmentJob
from backend.tasks import scene
from backend.tasks.context import Context
from backend.tasks.deliver import deliver, is_empty


def run(job: SegmentJob, context: Context) -> dict[str, Any]:
    """Write a class raster and whatever else the job asks for; see `backend.tasks.scene.run`."""
    return scene.run(job, context, deliver, is_empty)
