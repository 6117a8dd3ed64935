"""One job at a time on a device, across all processes of a user on a machine."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from backend.manifest.home import home
from backend.protocol.errors import OutputError

POLL_S = 0.1
# Windows forbids others to read locked bytes, so the locked byte lies far behind the text that tells the holder.
_LOCKED_BYTE = 1 << 20


class Waiter(Protocol):
    """What the lock needs of a job's context; see `backend.tasks.context.Context`."""

    def wait(self, seconds: float) -> None:
        """Sleep; raise `Cancelled` as soon as the job should stop."""

    def waiting(self, device: str, pid: int) -> None:
        """Report that another process holds the device."""


@contextmanager
def device_lock(device: str, context: Waiter) -> Iterator[None]:
    """Hold a device; wait for it where somebody else does, and tell the context who.

    The system releases the lock when its holder's process ends, however it ends. Two threads of one process exclude
    each other as two processes do.

    Args:
        device: "cpu", "cuda:N" or "mps".
        context: is told of waiting, and may cancel it.

    Raises:
        Cancelled: while waiting.
        OutputError: the lock file cannot be made or locked.
    """
    path = lock_path(device)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        _acquire(handle, path, device, context)
        _sign(handle, f"{os.getpid()}\n")
        try:
            yield
        finally:
            _sign(handle, "")
    finally:
        os.close(handle)  # releases the lock; the file stays, because others may be waiting on it


def lock_path(device: str) -> Path:
    """The device's lock file; its name holds the machine's, because home folders are shared between machines."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{platform.node()}-{device}")
    return home() / "locks" / f"{name}.lock"


def holder(device: str) -> int:
    """Process number that the lock file names; 0 when it names none. The process may have ended since."""
    try:
        text = lock_path(device).read_bytes()[:32]
    except OSError:
        return 0
    return int(text) if text.strip().isdigit() else 0


def _acquire(handle: int, path: Path, device: str, context: Waiter) -> None:
    told = None
    while True:
        context.wait(0 if told is None else POLL_S)
        try:
            if _try_lock(handle):
                return
        except OSError as error:
            raise _unusable(path, error) from error
        pid = holder(device)
        if pid != told:
            context.waiting(device, pid)
            told = pid


def _sign(handle: int, text: str) -> None:
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, text.encode("ascii"))


def _unusable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"the device cannot be reserved through {path}",
        error.strerror or str(error),
        "set EARTHPRISM_HOME to a writable folder on a local disk",
    )


if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int) -> bool:
        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def _try_lock(handle: int) -> bool:
        # flock, not lockf: it belongs to the open file, so that threads of one process exclude each other too.
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
