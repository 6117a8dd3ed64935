"""Running the command line inside the test's own process, the way `python -m backend` runs it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.command_line import main


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object that `--json` promises on stdout."""
        return json.loads(self.out)


def earthprism(*arguments: object) -> Outcome:
    """Run one command."""
    out, err = io.StringIO(), io.StringIO()
    with _as_in_a_process_of_its_own(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


def done(*arguments: object) -> Any:
    """Run a command that must succeed; its JSON answer."""
    outcome = earthprism(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    return outcome.json


def refused(*arguments: object) -> str:
    """Run a command that must be refused in one sentence; the sentence."""
    outcome = earthprism(*arguments)
    assert (outcome.code, outcome.out) == (2, ""), (outcome.out, outcome.err)
    return one_sentence(outcome.err)


def one_sentence(text: str) -> str:
    """The only line of an error message, which must be a sentence and nothing else."""
    lines = text.splitlines()
    assert len(lines) == 1 and lines[0].startswith("earthprism: "), text
    sentence = lines[0].removeprefix("earthprism: ")
    assert sentence.endswith((".", "?", "!")) and "Traceback" not in sentence and "Error:" not in sentence, sentence
    return sentence


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything in a folder: name, size and time of change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        found[str(path.relative_to(folder))] = (status.st_size if path.is_file() else 0, status.st_mtime_ns)
    return found


@contextlib.contextmanager
def _as_in_a_process_of_its_own() -> Iterator[None]:
    """Takes back what a command does to its process: log handlers and the answers to signals."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for handler in [handler for handler in root.handlers if handler not in handlers]:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)
        logging.captureWarnings(False)
        for number, action in signals.items():
            signal.signal(number, action)
