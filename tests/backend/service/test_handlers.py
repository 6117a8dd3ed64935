"""Every job and every query has its handler."""

from __future__ import annotations

import typing

from backend.protocol import jobs, messages
from backend.service import handlers


def test_every_job_and_every_query_has_a_handler() -> None:
    assert set(handlers.JOBS) == set(typing.get_args(jobs.Job))
    assert set(handlers.CHECKS) == {*typing.get_args(jobs.SceneJob), jobs.LearnJob}
    assert set(handlers.QUERIES) == set(typing.get_args(messages.Query))
