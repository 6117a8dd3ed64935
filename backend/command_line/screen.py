"""A job's events on stderr."""

from __future__ import annotations

import logging
import sys

from backend.protocol.messages import ChunkWritten, JobEvent, Logged, Progress, Waiting, Warned

log = logging.getLogger(__name__)


class Screen:
    """Shows events on stderr: a line that is overwritten on a terminal, one line per tenth elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._shown = ("", -1)

    def __call__(self, event: JobEvent) -> None:
        """Show one event."""
        match event:
            case Progress():
                self._progress(event)
            case Warned(text):
                self._line(f"warning: {text}")
            case Waiting(device, pid):
                self._line(f"waiting for {device}, which process {pid or 'unknown'} holds")
            case Logged(text):
                self._line(text)
            case ChunkWritten():
                log.info("finished %s %s", event.output, event.window)

    def _progress(self, event: Progress) -> None:
        tenth = int(event.fraction * 10)
        if not self._live and self._shown == (event.stage, tenth):
            return
        self._shown = (event.stage, tenth)
        rate = f", {event.rate:.1f}/s" if event.rate and event.total > 100 else ""
        left = f", {_duration(event.seconds_left)} left" if event.seconds_left else ""
        text = f"{event.stage} {event.fraction:4.0%} ({event.done}/{event.total}{rate}{left})"
        if self._live:
            sys.stderr.write(f"\r\x1b[K{text}" + ("\n" if event.done >= event.total else ""))
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def _line(self, text: str) -> None:
        sys.stderr.write(("\r\x1b[K" if self._live else "") + text + "\n")
        sys.stderr.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60} h {minutes % 60:02d} min"
        if minutes >= 60
        else f"{minutes}:{rest:02d} min"
        if minutes
        else f"{rest} s"
    )
