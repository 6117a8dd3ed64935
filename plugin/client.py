"""The backend as seen from QGIS: a process that is started when needed, asked, cancelled, killed, started again.

Standard library only, no Qt: usable from a `QgsTask`, from a Processing algorithm's thread, and from several threads at
once. Never call it from the thread that draws the window, except `close`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any, Optional, Union

from ..backend.protocol import messages, wire
from ..backend.protocol.errors import Cancelled, EarthPrismError, ProtocolError, from_dict
from ..backend.protocol.jobs import Job
from ..backend.protocol.messages import Event, EventBody, Failed, JobEvent, Reply, Request, Result, Stopped, Welcome
from .errors import BackendDied, BackendNotStarted, BackendTimeout

START_TIMEOUT_S = 60.0
KILL_AFTER_S = 5.0  # a cancelled job that has not stopped by then; finished chunks make killing safe
CLOSE_AFTER_S = 3.0
POLL_S = 0.1
STDERR_LINES = 200
LAST_EVENTS = (Welcome, Reply, Result, Failed, Stopped)
# What QGIS or its launcher sets for its own Python, GDAL and Qt breaks another Python with its own GDAL.
FOREIGN = frozenset(
    (
        *("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH", "GDAL_PAM_PROXY_DIR"),
        *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "DYLD_FRAMEWORK_PATH"),
        *("QT_PLUGIN_PATH", "QT_QPA_PLATFORM_PLUGIN_PATH", "QGIS_PREFIX_PATH"),
        *("VIRTUAL_ENV", "CONDA_PREFIX", "__PYVENV_LAUNCHER__"),
    )
)
_ISOLATED = (
    "import sys,runpy;sys.path.insert(0,sys.argv.pop(1));runpy.run_module('backend',run_name='__main__',alter_sys=True)"
)


def start_command(python: str, root: Path) -> list[str]:
    """The command that serves: isolated from the user's Python settings, UTF-8 on every system, unbuffered.

    Args:
        python: interpreter of the backend's environment.
        root: folder that holds `backend`.
    """
    return [python, "-I", "-X", "utf8", "-u", "-c", _ISOLATED, str(root), "serve"]


def clean_environment(extra: Optional[Mapping[str, str]] = None) -> dict[str, str]:
    """This process's environment without what belongs to QGIS's own Python, GDAL and Qt, and with `extra`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.upper() not in FOREIGN and not name.upper().startswith("PYTHON")
    }
    return {**kept, **(extra or {})}


class Client:
    """Starts the backend on first use and talks to it.

    Args:
        command: how to start it, see `start_command`.
        environment: variables to add to the cleaned environment, such as a proxy.
        name: who is asking, for the backend's log.
    """

    def __init__(self, command: Sequence[str], environment: Optional[Mapping[str, str]] = None, name: str = "") -> None:
        self._command = list(command)
        self._environment = dict(environment or {})
        self._name = name
        self._starting = threading.Lock()  # not taken by `close`, which must not wait for a start that hangs
        self._backend: Optional[_Backend] = None
        self._welcome: Optional[Welcome] = None
        self._closed = False

    def start(self) -> Welcome:
        """Start the backend where it is not running, agree on the version, and say what it offers.

        Raises:
            BackendNotStarted: it does not start, does not answer, or `close` was called meanwhile.
            ProtocolError: client and backend have no version in common; the sentence names both.
        """
        return self._running()[1]

    def restart(self) -> Welcome:
        """End the backend, if it runs, and start a new one; also after `close`. Raises as `start` does."""
        self.close()
        with self._starting:  # a start that was under way has noticed by now
            self._closed = False
        return self.start()

    def close(self) -> None:
        """End the backend: close its stdin, wait, kill. Requests under way raise `BackendDied`."""
        self._closed = True  # first: a start under way looks at it once its process exists
        backend = self._backend
        if backend is not None:
            backend.close()

    @property
    def alive(self) -> bool:
        """Whether a backend runs at this moment."""
        backend = self._backend
        return backend is not None and backend.alive

    def query(
        self,
        question: Union[messages.Query, messages.Status, messages.SessionMessage],
        timeout: Optional[float] = None,
        is_cancelled: Optional[Callable[[], bool]] = None,
    ) -> dict[str, Any]:
        """Ask something that is answered at any time, also while a job runs.

        Args:
            question: what to ask.
            timeout: seconds to wait for the answer; None waits as long as the backend lives.
            is_cancelled: is asked every now and then; the wait ends when it says so.

        Raises:
            BackendDied, BackendNotStarted: there is no backend to ask.
            BackendTimeout: no answer in time.
            Cancelled: `is_cancelled` said so.
            EarthPrismError: the backend's answer is an error.
        """
        backend, _ = self._running()
        end = None if timeout is None else time.monotonic() + timeout
        with backend.ask(question) as conversation:
            while True:
                body = conversation.wait()
                if body is not None:
                    return _answer(body)
                if is_cancelled is not None and is_cancelled():
                    raise Cancelled("the question was withdrawn")
                if end is not None and time.monotonic() > end:
                    raise BackendTimeout(f"the backend did not answer within {timeout:g} s")

    def run(
        self,
        job: Job,
        on_event: Optional[Callable[[JobEvent], None]] = None,
        is_cancelled: Optional[Callable[[], bool]] = None,
    ) -> dict[str, Any]:
        """Run a job to its end and return its result; blocks the calling thread.

        Args:
            job: what to do.
            on_event: is called in this thread with progress, finished chunks, warnings, waiting ...
            is_cancelled: is asked every now and then; once it says so the job is cancelled, and a backend that has not
                stopped within 5 s is killed.

        Raises:
            Cancelled: the job was cancelled; what is finished is kept.
            BackendDied, BackendNotStarted: there is no backend (any more).
            EarthPrismError: the job failed; see the error's class and sentence.
        """
        backend, _ = self._running()
        with backend.ask(job) as conversation:
            try:
                return self._follow(conversation, on_event, is_cancelled)
            except BaseException:
                # Whoever was listening is gone, by an exception of its own perhaps: nobody wants the result any more.
                conversation.cancel()
                raise

    def _follow(
        self,
        conversation: _Conversation,
        on_event: Optional[Callable[[JobEvent], None]],
        is_cancelled: Optional[Callable[[], bool]],
    ) -> dict[str, Any]:
        deadline: Optional[float] = None
        while True:
            if deadline is None and is_cancelled is not None and is_cancelled():
                conversation.cancel()
                deadline = time.monotonic() + KILL_AFTER_S
            if deadline is not None and time.monotonic() > deadline:
                conversation.kill()
                raise Cancelled("the run was cancelled", "it did not stop by itself, so the backend was ended")
            body = conversation.wait()
            if isinstance(body, LAST_EVENTS):
                return _answer(body)
            if body is not None and on_event is not None:
                on_event(body)

    def _running(self) -> tuple[_Backend, Welcome]:
        """The living backend; started when there is none."""
        with self._starting:
            if self._closed:
                raise BackendNotStarted("the backend was closed")
            if self._backend is None or self._welcome is None or not self._backend.alive:
                self._welcome = None
                self._backend = _Backend(self._command, clean_environment(self._environment))
                self._welcome = self._greet(self._backend)
            return self._backend, self._welcome

    def _greet(self, backend: _Backend) -> Welcome:
        """Say hello; a backend that cannot be talked to is ended again."""
        try:
            return self._hello(backend)
        except EarthPrismError:
            backend.close()
            raise

    def _hello(self, backend: _Backend) -> Welcome:
        end = time.monotonic() + START_TIMEOUT_S
        try:
            with backend.ask(messages.Hello(messages.OLDEST_VERSION, messages.NEWEST_VERSION, self._name)) as hello:
                body = hello.wait()
                while body is None and time.monotonic() < end and not self._closed:
                    body = hello.wait()
        except BackendDied as error:
            raise BackendNotStarted("the backend does not start", error.why, error.fix) from error
        if self._closed:
            raise BackendNotStarted("the backend was closed")
        if body is None:
            raise BackendNotStarted("the backend does not start", f"it was silent for {START_TIMEOUT_S:g} s")
        if not isinstance(body, Welcome):
            _answer(body)
            raise ProtocolError("the backend did not answer the greeting", f'it said "{body.kind}"')
        if not messages.OLDEST_VERSION <= body.version <= messages.NEWEST_VERSION:
            raise ProtocolError(
                "client and backend do not speak the same language",
                f"the client speaks protocol {messages.NEWEST_VERSION}, the backend {body.version}",
            )
        return body


class _Conversation:
    """One request and the events about it; a context manager, so that late events are dropped."""

    def __init__(self, backend: _Backend, number: str) -> None:
        self._backend = backend
        self._number = number
        self._over = False
        self.inbox: SimpleQueue[EventBody] = SimpleQueue()

    def __enter__(self) -> _Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self._backend.forget(self._number)

    def wait(self) -> Optional[EventBody]:
        """The next event; None when there is none for a moment. Raises `BackendDied` when there will be none."""
        ended = self._backend.ended.is_set()  # asked first: what came in before the end is in the inbox by now
        try:
            body = self.inbox.get(timeout=0 if ended else POLL_S)
        except Empty:
            if not ended:
                return None
            self._over = True
            raise self._backend.death() from None
        self._over = isinstance(body, LAST_EVENTS)
        return body

    def cancel(self) -> None:
        """Tell the backend to stop this job, unless it is over."""
        if not self._over:
            self._backend.tell(messages.Cancel(self._number))

    def kill(self) -> None:
        """End the backend at once, and this job with it."""
        self._over = True
        self._backend.kill()


class _Backend:
    """One backend process from start to end."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environment),
                **_own_group(),
            )
        except OSError as error:
            raise BackendNotStarted("the backend does not start", f"{command[0]}: {error.strerror or error}") from error
        self.ended = threading.Event()
        self._last_lines: deque[str] = deque(maxlen=STDERR_LINES)
        self._numbers = itertools.count(1)
        self._conversations: dict[str, _Conversation] = {}
        self._sending = threading.Lock()
        self._closing = False
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None and stdout is not None and stderr is not None
        self._stdin = stdin
        self._errors = threading.Thread(target=self._drain, args=[stderr], name="backend-stderr", daemon=True)
        self._errors.start()
        threading.Thread(target=self._read, args=[stdout], name="backend-events", daemon=True).start()

    @property
    def alive(self) -> bool:
        return not self.ended.is_set() and self._process.poll() is None

    def ask(self, body: messages.RequestBody) -> _Conversation:
        """Send a request and listen to what is said about it."""
        number = str(next(self._numbers))
        conversation = _Conversation(self, number)
        self._conversations[number] = conversation
        try:
            self._send(Request(number, body))
        except EarthPrismError:
            self.forget(number)
            raise
        return conversation

    def tell(self, body: messages.RequestBody) -> None:
        """Send a request and do not wait for the answer; nothing happens where the backend is gone."""
        with contextlib.suppress(BackendDied):
            self._send(Request(str(next(self._numbers)), body))

    def forget(self, number: str) -> None:
        """Drop whatever else is said about a request."""
        self._conversations.pop(number, None)

    def death(self) -> BackendDied:
        """The error that says how the backend ended."""
        code = self._end()
        self._errors.join(1.0)  # its last words may still be on their way
        lines = tuple(self._last_lines)
        how = f"it ended with code {code}" if code >= 0 else f"it was ended by signal {-code}"
        words = " | ".join(lines[-3:])
        return BackendDied(
            "the backend was closed" if self._closing else "the backend ended unexpectedly",
            f"{how}: {words}" if words else how,
            "start again; what is finished is kept",
            lines,
        )

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()

    def _end(self) -> int:
        """Exit code of a process that is ending; killed when it takes too long."""
        try:
            return self._process.wait(CLOSE_AFTER_S)
        except subprocess.TimeoutExpired:
            self.kill()
        return self._process.wait()

    def close(self) -> None:
        """Close the process's stdin, upon which it ends by itself; kill it when it does not."""
        self._closing = True
        if self._sending.acquire(timeout=1.0):  # a send that hangs means that the backend does not read: kill
            self._stdin.close()
            self._sending.release()
            self._end()
        else:
            self.kill()

    def _send(self, request: Request) -> None:
        left = memoryview(wire.encode(request))
        with self._sending:
            try:
                while left:  # not through a buffer, which would keep what could not be sent and complain about it later
                    left = left[os.write(self._stdin.fileno(), left) :]
                return
            except (OSError, ValueError) as error:  # ValueError: closed by us
                broken = error
        raise self.death() from broken

    def _read(self, stdout: IO[bytes]) -> None:
        """Pass events on to whoever asked, until the backend's stdout ends."""
        for line in wire.read_lines(stdout):
            try:
                if isinstance(line, ProtocolError):
                    raise line
                event = wire.decode_event(line)
            except ProtocolError as error:
                self._last_lines.append(f"the backend said something that is not understood: {error.sentence()}")
                continue
            self._deliver(event)
        self.ended.set()

    def _deliver(self, event: Event) -> None:
        conversation = self._conversations.get(event.job)
        if conversation is not None:
            conversation.inbox.put(event.body)
        elif isinstance(event.body, Failed):
            self._last_lines.append(from_dict(vars(event.body.error)).sentence())

    def _drain(self, stderr: IO[bytes]) -> None:
        """Keep the last lines of stderr; a pipe that nobody reads would block the backend."""
        for line in stderr:
            self._last_lines.append(line.decode("utf-8", "replace").rstrip())


def _answer(body: EventBody) -> dict[str, Any]:
    """The result in an answer, or the error it carries."""
    if isinstance(body, (Reply, Result)):
        return body.result
    if isinstance(body, Stopped):
        raise Cancelled("the run was cancelled", "", "what is finished is kept")
    if isinstance(body, Failed):
        raise from_dict(vars(body.error))
    raise ProtocolError("the backend's answer is not understood", f'it said "{body.kind}"')


def _own_group() -> dict[str, Any]:
    """Keeps a console window from opening on Windows, and Ctrl-C in QGIS's terminal from reaching the backend."""
    if os.name == "nt":
        return {"creationflags": 0x08000000}  # CREATE_NO_WINDOW
    return {"start_new_session": True}
