"""The two ends of the pipe to the client: lines in, events out."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from typing import IO

from backend.protocol import wire
from backend.protocol.errors import InternalError, ProtocolError
from backend.protocol.messages import Event, EventBody


class Channel:
    """Messages over two file descriptors; `send` may be called from any thread.

    Args:
        source: where requests come from.
        sink: descriptor where events go.
    """

    def __init__(self, source: IO[bytes], sink: int) -> None:
        self._source = source
        self._sink = sink
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    @classmethod
    def take_stdio(cls) -> Channel:
        """Take over stdin and stdout: from now on prints of any library go to stderr, and reading stdin gives nothing.

        The descriptors are not inherited, so that a child process cannot keep the pipe open.
        """
        source, sink = os.fdopen(os.dup(0), "rb"), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        return cls(source, sink)

    def lines(self) -> Iterator[bytes | ProtocolError]:
        """The lines that come in, until the client is gone; see `wire.read_lines`."""
        return wire.read_lines(self._source)

    def send(self, job: str, body: EventBody) -> None:
        """Send an event about a request ("": about none); ends the process when nobody listens any more.

        Raises:
            InternalError: when the event cannot be said in the protocol.
        """
        try:
            line = wire.encode(Event(str(next(self._numbers)), job, body))
        except ProtocolError as error:
            raise InternalError(f'an event "{body.kind}" cannot be sent', error.why) from error
        with self._lock:
            left = memoryview(line)
            try:
                while left:
                    left = left[os.write(self._sink, left) :]
            except OSError:
                os._exit(0)  # the client is gone, and with it the reason to live
