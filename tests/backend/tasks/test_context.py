"""A job's context: progress with rate and remaining time, cancelling with callbacks."""

from __future__ import annotations

import threading

import pytest

from backend.protocol.errors import Cancelled
from backend.protocol.messages import JobEvent, Progress
from backend.tasks.context import Context


def test_progress_is_thinned_but_its_ends_are_told() -> None:
    seen: list[JobEvent] = []
    context = Context(seen.append)
    for done in range(10_001):
        context.progress("computing", done, 10_000)
    context.progress("writing", 0, 3)
    progress = [event for event in seen if isinstance(event, Progress)]
    assert len(progress) < 1000
    assert (progress[0].done, progress[0].seconds_left) == (0, None)
    assert (progress[-2].fraction, progress[-2].seconds_left) == (1.0, 0.0) and progress[-2].rate > 0
    assert (progress[-1].stage, progress[-1].fraction) == ("writing", 0.0)


def test_what_an_earlier_run_did_does_not_count_as_speed() -> None:
    seen: list[JobEvent] = []
    context = Context(seen.append)
    context.progress("computing", 900, 1000)
    context.progress("computing", 1000, 1000)
    first, last = seen
    assert isinstance(first, Progress) and isinstance(last, Progress)
    assert (first.rate, first.fraction) == (0.0, 0.9) and last.fraction == 1.0


def test_a_stage_without_units_is_done() -> None:
    seen: list[JobEvent] = []
    Context(seen.append).progress("polygons", 0, 0)
    assert isinstance(seen[0], Progress) and seen[0].fraction == 1.0


def test_cancel_reaches_checks_waits_and_callbacks() -> None:
    context = Context()
    context.check()
    called, dropped = threading.Event(), threading.Event()
    context.on_cancel(called.set)
    context.on_cancel(dropped.set)()
    threading.Timer(0.05, context.cancel).start()
    with pytest.raises(Cancelled):
        context.wait(60)
    assert context.cancelled() and called.wait(30) and not dropped.is_set()
    with pytest.raises(Cancelled):
        context.check()


def test_a_late_callback_is_called_at_once() -> None:
    context = Context()
    context.cancel()
    called: list[bool] = []
    context.on_cancel(lambda: called.append(True))
    assert called == [True]
