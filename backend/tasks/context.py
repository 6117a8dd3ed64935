"""What a running job is told and what it tells: cancelling, progress, finished chunks, warnings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from copy import copy

from backend.protocol.errors import Cancelled
from backend.protocol.messages import ChunkWritten, JobEvent, Logged, Progress, Waiting, Warned

# A reader of progress cannot follow more than a few values a second.
PROGRESS_INTERVAL_S = 0.1


class Context:
    """The side of a job that faces whoever started it; safe to use from any thread.

    The service and the command line give every event to their own listener; without one, a job runs silently.

    Args:
        listener: is called with every event, in the thread that reports it.
    """

    def __init__(self, listener: Callable[[JobEvent], None] | None = None) -> None:
        self._listener = listener
        # Re-entrant: a signal may cancel the job while its own thread holds the lock.
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._callbacks: list[Callable[[], None]] = []
        self._pace = _Pace()

    # --- what the job says

    def progress(self, stage: str, done: int, total: int) -> None:
        """Report how far a stage is; may be called as often as is convenient.

        Args:
            stage: what is being done, one word or two; another word starts a new stage.
            done: units done, those of an earlier, resumed run included.
            total: units in all.
        """
        with self._lock:
            event = self._pace.step(stage, done, total, time.monotonic())
        if event is not None:
            self._tell(event)

    def chunk(self, output: str, vrt: str, window: tuple[int, int, int, int]) -> None:
        """Report a finished part of a result: which result, the raster of all finished parts, and (column, row, width,
        height) of the new part in pixels of the run's grid.
        """
        self._tell(ChunkWritten(output, vrt, window))

    def without_chunks(self) -> Context:
        """The same, for a run whose results nobody is to see: its parts and warnings are not told."""
        listener = self._listener
        quiet = copy(self)
        if listener is not None:
            quiet._listener = lambda event: None if isinstance(event, (ChunkWritten, Warned)) else listener(event)
        return quiet

    def warn(self, text: str) -> None:
        """Tell the user something; the job goes on."""
        self._tell(Warned(text))

    def log(self, text: str) -> None:
        """Add a line to the run's log."""
        self._tell(Logged(text))

    def waiting(self, device: str, pid: int) -> None:
        """Report that another process (number 0: unknown) holds the device."""
        self._tell(Waiting(device, pid))

    def _tell(self, event: JobEvent) -> None:
        if self._listener is not None:
            self._listener(event)

    # --- what the job is told

    def cancelled(self) -> bool:
        """Whether the job should stop."""
        return self._stop.is_set()

    def check(self) -> None:
        """Raise `Cancelled` when the job should stop."""
        if self._stop.is_set():
            raise Cancelled("the run was cancelled", "", "what is finished is kept")

    def wait(self, seconds: float) -> None:
        """Sleep, but raise `Cancelled` as soon as the job should stop."""
        self._stop.wait(seconds)
        self.check()

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` from another thread when the job is cancelled, at once when it already is.

        Returns:
            A function that takes the callback back.
        """
        with self._lock:
            self._callbacks.append(callback)
            late = self._stop.is_set()
        if late:
            callback()

        def take_back() -> None:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)

        return take_back

    def cancel(self) -> None:
        """Ask the job to stop; used by whoever started it. The callbacks run in a thread of their own."""
        with self._lock:
            first = not self._stop.is_set()
            self._stop.set()
            callbacks = list(self._callbacks)
        for callback in callbacks if first else ():
            threading.Thread(target=callback, name="cancel", daemon=True).start()


class _Pace:
    """Turns counts into rate and remaining time, and drops values that come too fast."""

    def __init__(self) -> None:
        self._stage: str | None = None
        self._start = (0, 0.0)  # units that were done, and the time, when the stage was first reported
        self._last = 0.0

    def step(self, stage: str, done: int, total: int, now: float) -> Progress | None:
        """The event for these counts; None when the last one was sent a moment ago."""
        if stage != self._stage:
            self._stage, self._start = stage, (done, now)
        elif done < total and now - self._last < PROGRESS_INTERVAL_S:
            return None
        self._last = now
        gained, elapsed = done - self._start[0], now - self._start[1]
        rate = gained / elapsed if gained > 0 and elapsed > 0 else 0.0
        left = (total - done) / rate if rate > 0 else None
        fraction = min(1.0, done / total) if total > 0 else 1.0
        return Progress(stage, fraction, done, total, rate, left)
