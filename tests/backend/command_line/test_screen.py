"""A job's events on stderr, read by a person on a terminal or by a log file."""

from __future__ import annotations

import io

import pytest

from backend.command_line.screen import Screen
from backend.protocol.messages import ChunkWritten, Logged, Progress, Waiting, Warned


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, *events: object) -> str:
    monkeypatch.setattr("sys.stderr", stream)
    screen = Screen()
    for event in events:
        screen(event)  # type: ignore[arg-type]
    return stream.getvalue()


def progress(done: int, rate: float = 0.0, left: float | None = None, total: int = 1000) -> Progress:
    return Progress("segmenting", done / total, done, total, rate, left)


def test_a_log_gets_one_line_per_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, io.StringIO(), *(progress(done) for done in range(0, 1001, 5)))
    assert len(text.splitlines()) == 11 and "\r" not in text
    assert text.splitlines()[-1] == "segmenting 100% (1000/1000)"


def test_a_terminal_gets_a_line_that_is_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, Terminal(), progress(10), progress(20), progress(1000))
    assert text.count("\r") == 3 and text.count("\n") == 1 and text.endswith("\n")


@pytest.mark.parametrize(("left", "words"), [(12.4, "12 s left"), (75, "1:15 min left"), (7500, "2 h 05 min left")])
def test_rate_and_time_left(monkeypatch: pytest.MonkeyPatch, left: float, words: str) -> None:
    assert f"(500/1000, 3.2/s, {words})" in shown(monkeypatch, io.StringIO(), progress(500, 3.21, left))


def test_what_a_job_says(monkeypatch: pytest.MonkeyPatch) -> None:
    events = (Warned("mind the gap"), Waiting("cpu", 0), Logged("done"), ChunkWritten("classes", "a.vrt", (0, 0, 1, 1)))
    text = shown(monkeypatch, io.StringIO(), *events)
    assert text.splitlines() == ["warning: mind the gap", "waiting for cpu, which process unknown holds", "done"]
