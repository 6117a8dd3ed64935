"""One holder per device, across processes and threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backend.protocol.errors import Cancelled, OutputError
from backend.protocol.messages import JobEvent, Waiting
from backend.runtime.lock import device_lock, holder, lock_path
from backend.tasks.context import Context

ROOT = Path(__file__).resolve().parents[3]
HOLD = """
import sys
from backend.runtime.lock import device_lock
from backend.tasks.context import Context
with device_lock("cuda:0", Context()):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHPRISM_HOME", str(tmp_path))


def hold_elsewhere() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("ending", ["released", "killed"])
def test_a_second_process_waits_and_is_told_who_holds_the_device(ending: str) -> None:
    told: list[JobEvent] = []
    waiting = threading.Event()

    def listen(event: JobEvent) -> None:
        told.append(event)
        waiting.set()

    def take() -> int:
        with device_lock("cuda:0", Context(listen)):
            return holder("cuda:0")

    with hold_elsewhere() as other, ThreadPoolExecutor(1) as pool:
        with device_lock("cpu", Context()):  # another device is free
            pass
        taken = pool.submit(take)
        assert waiting.wait(30)
        assert not taken.done()
        if ending == "killed":
            other.kill()
        else:
            other.communicate()
        assert taken.result(30) == os.getpid()
    assert told[0] == Waiting("cuda:0", other.pid)
    assert holder("cuda:0") == 0


def test_waiting_can_be_cancelled() -> None:
    context = Context(lambda event: context.cancel())
    with hold_elsewhere() as other:
        with pytest.raises(Cancelled), device_lock("cuda:0", context):
            pass
        other.communicate()


def test_threads_of_one_process_exclude_each_other() -> None:
    holders, most = 0, 0

    def work() -> None:
        nonlocal holders, most
        with device_lock("cpu", Context()):
            holders += 1
            most = max(most, holders)
            holders -= 1

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(12)]:
            done.result(60)
    assert most == 1


def test_the_lock_is_released_when_its_holder_fails() -> None:
    with pytest.raises(KeyError), device_lock("cpu", Context()):
        raise KeyError
    with device_lock("cpu", Context()):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EARTHPRISM_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="EARTHPRISM_HOME"), device_lock("cpu", Context()):
        pass


def test_device_names_make_safe_file_names() -> None:
    assert lock_path("cuda:0") != lock_path("cuda:1")
    assert lock_path("../../etc/passwd").parent == lock_path("cpu").parent
