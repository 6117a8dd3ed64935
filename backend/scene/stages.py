"""Thread borders between the stages of the pipeline."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")

# How long a stage waits before it looks again whether it shall stop, in seconds.
POLL_SECONDS = 0.1


class _End:
    """Marks the end of a stream, with the error that ended it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Prefetched(Generic[Item]):
    """Iterates over what another thread produces, at most `depth` items ahead."""

    def __init__(self, make: Callable[[], Iterable[Item]], depth: int, name: str) -> None:
        self._queue: queue.Queue[Item | _End] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._produce, args=(make,), name=name, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        while True:
            item = self._queue.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    def close(self) -> None:
        """Ask the thread to stop and wait until it has."""
        self._stop.set()
        self._thread.join()

    def _produce(self, make: Callable[[], Iterable[Item]]) -> None:
        error: BaseException | None = None
        try:
            for item in make():
                if not self._put(item):
                    return
        except BaseException as caught:  # noqa: BLE001 - raised again in the consumer's thread
            error = caught
        self._put(_End(error))

    def _put(self, item: Item | _End) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False


@contextmanager
def prefetch(make: Callable[[], Iterable[Item]], depth: int, name: str) -> Iterator[Iterable[Item]]:
    """Run an iterable in a thread of its own; the thread has ended when the block is left.

    Args:
        make: makes the iterable, called inside the thread (so that it may open files there).
        depth: most items that wait between the threads.
        name: the thread's name, for logs.
    """
    stage: Prefetched[Item] = Prefetched(make, depth, name)
    try:
        yield stage
    finally:
        stage.close()
