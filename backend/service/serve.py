"""The loop of the backend process: reads requests, answers queries at any time, hands jobs to their lanes."""

from __future__ import annotations

import faulthandler
import logging
import os
import platform
import signal
import sys
import threading
import time
import typing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn, TypeVar

from backend import __version__
from backend.protocol import messages, wire
from backend.protocol.errors import Cancelled, EarthPrismError, InternalError, ProtocolError
from backend.protocol.messages import Cancel, ErrorInfo, EventBody, Failed, Hello, LastEvent, Reply, Result, Stopped
from backend.service import handlers
from backend.service.channel import Channel
from backend.service.lanes import Lanes, Ticket
from backend.tasks import machine
from backend.tasks.log import open_log

QUERY_THREADS = 4  # a slow query, such as inspecting a remote file, must not hold up the others
NICENESS = 10  # QGIS stays fluid while a job runs
SHUTDOWN_S = 3.0
LONGEST_REASON = 500  # characters of an unexpected error; the log has all
BELOW_NORMAL_PRIORITY_CLASS = 0x4000  # of SetPriorityClass

log = logging.getLogger(__name__)
Outcome = TypeVar("Outcome")


class Service:
    """One client's backend.

    Args:
        channel: the pipe to the client.
        log_file: named when something fails for a reason of ours.
    """

    def __init__(self, channel: Channel, log_file: Path | None) -> None:
        self._channel = channel
        self._log_file = log_file
        self._started = time.monotonic()
        self._version: int | None = None
        self._queries = ThreadPoolExecutor(QUERY_THREADS, "query")
        self._lanes = Lanes(self._tell, self._place, self._perform)

    def listen(self) -> None:
        """Take requests until the client is gone, then end the process, whatever is going on."""
        code = 1
        try:
            for line in self._channel.lines():
                self._receive(line)
            log.info("the client is gone")
            code = 0
        finally:
            os._exit(code)

    # --- requests

    def _receive(self, line: bytes | ProtocolError) -> None:
        """Route one line; whatever is wrong with it is told to the client, and the next one is read."""
        number = ""

        def handle() -> None:
            nonlocal number
            if isinstance(line, ProtocolError):
                raise line
            value = wire.parse(line)
            if isinstance(value, dict) and isinstance(value.get("id"), str):
                number = value["id"]
            request = wire.request_from(value)
            self._route(request.id, request.body)

        failure = self._outcome(handle)
        if failure is not None:
            self._tell(number, failure)

    def _route(self, number: str, body: messages.RequestBody) -> None:
        if isinstance(body, Hello):
            self._agree(body)
            self._answer(number, self._welcome)
        elif self._version is None:
            raise ProtocolError(f'"{body.kind}" came first', "the version is not agreed on yet", 'begin with "hello"')
        elif isinstance(body, Cancel):
            self._tell(number, Reply({"cancelling": body.job in self._lanes}))  # first, then the job's own last event
            self._lanes.cancel(body.job)
        elif isinstance(body, messages.Shutdown):
            self._queries.submit(self._shut_down, number)
        elif isinstance(body, messages.Status):
            self._answer(number, self._status)
        elif type(body) in handlers.JOBS:
            self._lanes.submit(number, typing.cast(messages.Job, body))
        elif type(body) in handlers.QUERIES:
            self._answer(number, lambda: Reply(handlers.QUERIES[type(body)](body)))
        else:
            raise ProtocolError(f'"{body.kind}" is not available in this version', f"this is EarthPrism {__version__}")

    def _answer(self, number: str, action: Callable[[], LastEvent]) -> None:
        """Answer a query in a thread of its own lane."""
        self._queries.submit(lambda: self._tell(number, self._outcome(action)))

    def _agree(self, hello: Hello) -> None:
        newest = min(hello.newest, messages.NEWEST_VERSION)
        if newest < max(hello.oldest, messages.OLDEST_VERSION):
            raise ProtocolError(
                "client and backend do not speak the same language",
                f"the client speaks protocol {_span(hello.oldest, hello.newest)}, the backend "
                f"{_span(messages.OLDEST_VERSION, messages.NEWEST_VERSION)}",
                "install the same version of both",
            )
        self._version = newest
        log.info('client "%s", protocol %d', hello.client, newest)

    def _welcome(self) -> LastEvent:
        from backend.tasks import models

        return messages.Welcome(
            version=self._version or messages.NEWEST_VERSION,
            program=__version__,
            python=platform.python_version(),
            pid=os.getpid(),
            log=str(self._log_file or ""),
            devices=(machine.processor(),),
            runtimes=machine.runtimes(),
            models=models.summaries(),
        )

    def _status(self) -> LastEvent:
        devices = [wire.to_json(device) for device in machine.devices()]
        return Reply({"uptime_s": time.monotonic() - self._started, "jobs": self._lanes.summary(), "devices": devices})

    def _shut_down(self, number: str) -> NoReturn:
        self._lanes.cancel_all(SHUTDOWN_S)
        self._tell(number, Reply({}))
        os._exit(0)

    # --- jobs

    def _place(self, ticket: Ticket) -> LastEvent | None:
        def find() -> None:
            ticket.device = machine.device_of(ticket.job)
            check = handlers.CHECKS.get(type(ticket.job))
            if check is not None:
                check(ticket.job)

        return self._outcome(find)

    def _perform(self, ticket: Ticket) -> LastEvent:
        def perform() -> Result:
            with machine.reserved(ticket.device or "", ticket.context):
                return Result(handlers.JOBS[type(ticket.job)](ticket.job, ticket.context))

        return self._outcome(perform)

    # --- answers

    def _outcome(self, action: Callable[[], Outcome]) -> Outcome | Failed | Stopped:
        """What an action gives or fails with; the one place where a fault of ours becomes a message."""
        try:
            return action()
        except Cancelled:
            return Stopped()
        except InternalError as error:
            log.exception("internal error")
            return _failed(self._with_log(error))
        except EarthPrismError as error:
            return _failed(error)
        except (Exception, SystemExit) as error:  # the border of the process: nothing may get lost
            log.exception("unexpected error")
            why = f"{type(error).__name__}: {error}"
            return _failed(self._with_log(InternalError("the backend failed", why[:LONGEST_REASON])))

    def _tell(self, number: str, body: EventBody) -> None:
        """Send an event; an answer that cannot be sent becomes an error that can."""
        try:
            self._channel.send(number, body)
        except InternalError as error:
            if not isinstance(body, (Result, Reply)):
                raise
            log.exception("an answer cannot be sent")
            self._channel.send(number, _failed(self._with_log(error)))

    def _with_log(self, error: InternalError) -> InternalError:
        return InternalError(error.what, error.why, f'the details are in "{self._log_file}"' if self._log_file else "")


def main() -> NoReturn:
    """Serve the client at the other end of stdin and stdout until it is gone."""
    channel = Channel.take_stdio()
    faulthandler.enable(sys.stderr)
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    _lower_priority()
    service = Service(channel, open_log("backend"))
    threading.Thread(target=service.listen, name="requests", daemon=True).start()
    try:
        while True:  # the listening thread ends the process; a main thread that returned would make Python abort
            time.sleep(3600)
    except KeyboardInterrupt:
        os._exit(3)


def _failed(error: EarthPrismError) -> Failed:
    return Failed(ErrorInfo(error.code, error.what, error.why, error.fix))


def _span(oldest: int, newest: int) -> str:
    return str(newest) if oldest == newest else f"{oldest} to {newest}"


def _lower_priority() -> None:
    """Give way to QGIS; before any thread is started, because on Linux each thread has its own priority."""
    if sys.platform == "win32":
        import ctypes

        kernel = ctypes.windll.kernel32
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), BELOW_NORMAL_PRIORITY_CLASS)
    else:
        os.nice(NICENESS)
