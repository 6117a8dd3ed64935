"""The backend process, spoken to line by line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[3]
STAND_IN = Path(__file__).with_name("stand_in.py")
HELLO = {"kind": "hello", "oldest": 1, "newest": 1, "client": "test"}
LAST = {"welcome", "reply", "result", "error", "cancelled"}


class Peer:
    """A backend process and the events it has sent."""

    def __init__(self, home: Path) -> None:
        command = [sys.executable, "-I", "-X", "utf8", "-u", str(STAND_IN), str(ROOT)]
        environment = {**os.environ, "EARTHPRISM_HOME": str(home)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, bufsize=0
        )
        assert self.process.stdout is not None
        self.events = os.fdopen(os.dup(self.process.stdout.fileno()), "rb")

    def write(self, line: bytes) -> None:
        assert self.process.stdin is not None
        left = memoryview(line)
        while left:
            left = left[self.process.stdin.write(left) :]

    def say(self, number: str, **body: Any) -> None:
        self.write(json.dumps({"id": number, "body": body}).encode() + b"\n")

    def run(self, number: str, *models: str, device: str = "cpu") -> None:
        job = {"inputs": [], "models": models, "output": "o.tif", "compute": {"device": device}}
        self.say(number, kind="segment", **job)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr, self.events):
            stream.close()  # type: ignore[union-attr]

    def next(self) -> dict[str, Any]:
        return json.loads(next(self.events))

    def until(self, number: str, *kinds: str) -> dict[str, Any]:
        """The body of the next event of these kinds about a request; others are passed over."""
        while True:
            event = self.next()
            if event["job"] == number and event["body"]["kind"] in (kinds or LAST):
                return event["body"]


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Peer]:
    """A backend that nobody has greeted yet."""
    peer = Peer(tmp_path)
    yield peer
    peer.end()


@pytest.fixture
def peer(stranger: Peer) -> Peer:
    stranger.say("0", **HELLO)
    assert stranger.until("0")["kind"] == "welcome"
    return stranger


def test_hello_says_what_there_is(stranger: Peer, tmp_path: Path) -> None:
    stranger.say("a", **{**HELLO, "newest": 99})
    welcome = stranger.until("a")
    assert welcome["version"] == 1 and welcome["pid"] == stranger.process.pid
    assert [device["name"] for device in welcome["devices"]] == ["cpu"] and welcome["devices"][0]["memory"] > 0
    assert Path(welcome["log"]).parent == tmp_path / "logs" and Path(welcome["log"]).is_file()


@pytest.mark.parametrize(("oldest", "newest", "named"), [(7, 9, "7 to 9"), (0, 0, "protocol 0")])
def test_another_version_is_refused_and_both_are_named(stranger: Peer, oldest: int, newest: int, named: str) -> None:
    stranger.say("a", **{**HELLO, "oldest": oldest, "newest": newest})
    error = stranger.until("a")["error"]
    assert error["code"] == "protocol" and named in error["why"] and "backend 1" in error["why"]
    stranger.say("b", kind="status")
    assert "hello" in stranger.until("b")["error"]["fix"]


def test_garbage_is_answered_and_the_stream_goes_on(peer: Peer) -> None:
    for line in (b"hello\n", b"\xff\xfe\n", b'{"id": "7"', b"}\n", b"[" * 200_000 + b"\n"):
        peer.write(line)
    errors = [peer.next() for _ in range(4)]
    assert [event["body"]["kind"] for event in errors] == ["error"] * 4
    assert [event["job"] for event in errors] == ["", "", "7", ""]  # where an id can be read, its owner hears of it
    peer.say("8", kind="cancel", job=3)
    assert '"body.job"' in peer.until("8")["error"]["why"]
    peer.run("9", "count", "2")
    assert peer.until("9") == {"kind": "result", "result": {"counted": 2}}


def test_an_overlong_line_is_refused_and_the_stream_goes_on(peer: Peer) -> None:
    for _ in range(65):
        peer.write(b"x" * 1_000_000)
    peer.write(b"\n")
    assert "too long" in peer.next()["body"]["error"]["what"]
    peer.say("1", kind="cancel", job="none")
    assert peer.until("1")["result"] == {"cancelling": False}


def test_a_line_of_20_megabytes_comes_and_goes(peer: Peer) -> None:
    peer.say("1", kind="inspect", paths=["x" * 20_000_000])
    assert peer.until("1")["kind"] in LAST
    peer.run("2", "text", "20000000")
    assert len(peer.until("2")["result"]["text"]) == 20_000_000


def test_a_job_tells_its_story_in_order(peer: Peer) -> None:
    peer.run("1", "count", "3")
    kinds: list[str] = []
    while not kinds or kinds[-1] not in LAST:
        kinds.append(peer.next()["body"]["kind"])
    assert kinds[0] == "progress" and kinds.count("chunk") == 3
    assert kinds[-4:] == ["chunk", "warning", "log", "result"]


def test_queries_are_answered_while_a_job_runs(peer: Peer) -> None:
    peer.run("1", "hold")
    peer.until("1", "progress")
    peer.say("2", kind="status")
    status = peer.until("2")["result"]
    assert status["jobs"] == [{"job": "1", "kind": "segment", "device": "cpu", "running": True}]
    peer.say("3", kind="models-list")
    assert peer.until("3")["kind"] == "reply"
    peer.say("4", kind="models-describe", name="no-such-model")
    assert peer.until("4")["error"]["code"] == "package"


def test_jobs_of_one_device_take_turns_and_waiting_ones_can_be_cancelled(peer: Peer) -> None:
    peer.run("1", "hold")
    peer.until("1", "progress")
    peer.run("2", "count", "1")
    assert peer.until("2", "queued") == {"kind": "queued", "device": "cpu", "ahead": 1}
    peer.run("3", "count", "3")
    assert peer.until("3", "queued") == {"kind": "queued", "device": "cpu", "ahead": 2}
    peer.say("4", kind="cancel", job="2")
    peer.until("2", "cancelled")
    peer.say("5", kind="cancel", job="1")
    assert peer.until("5")["result"] == {"cancelling": True}
    peer.until("1", "cancelled")
    assert peer.until("3")["result"] == {"counted": 3}


def test_an_id_in_use_is_refused(peer: Peer) -> None:
    peer.run("1", "hold")
    peer.until("1", "progress")
    peer.run("1", "count", "1")
    assert "in use" in peer.until("1")["error"]["what"]


@pytest.mark.parametrize("kind", ["hold", "interrupt"])
def test_cancel_stops_a_job_and_the_next_one_runs(peer: Peer, kind: str) -> None:
    peer.run("1", kind)
    peer.until("1", "progress")
    peer.say("2", kind="cancel", job="1")
    assert peer.until("2")["result"] == {"cancelling": True}
    assert peer.until("1") == {"kind": "cancelled"}
    peer.run("3", "count", "1")
    assert peer.until("3")["result"] == {"counted": 1}


@pytest.mark.parametrize("kind", ["bug", "exit", "nan"])
def test_a_fault_of_ours_names_the_log_file(peer: Peer, tmp_path: Path, kind: str) -> None:
    peer.run("1", kind)
    error = peer.until("1")["error"]
    log = next((tmp_path / "logs").iterdir())
    assert error["code"] == "internal" and str(log) in error["fix"]
    assert "Traceback" in log.read_text() and "Traceback" not in json.dumps(error)
    peer.run("2", "refuse")
    assert peer.until("2")["error"] == {
        "code": "source", "what": "a.tif cannot be used", "why": "it has no CRS", "fix": "assign one"
    }  # fmt: skip


def test_a_device_that_is_not_there_fails_the_job_only(peer: Peer) -> None:
    peer.run("1", "count", "1", device="abacus")
    assert peer.until("1")["error"]["code"] == "device"
    peer.run("2", "count", "1")
    assert peer.until("2")["kind"] == "result"


def test_label_sessions_are_refused_politely(peer: Peer) -> None:
    peer.say("1", kind="session-undo", session="0")
    error = peer.until("1")["error"]
    assert error["code"] == "protocol" and "not available in this version" in error["what"]


def test_prints_do_not_break_the_stream(peer: Peer) -> None:
    peer.run("1", "noise")
    assert peer.next()["body"] == {"kind": "result", "result": {"stdin": ""}}
    assert peer.process.stdin is not None and peer.process.stderr is not None
    peer.process.stdin.close()
    printed = peer.process.stderr.read()
    assert all(text in printed for text in (b"python on stdout", b'"cancelled"', b"raw bytes", b"a child"))


@pytest.mark.parametrize("kind", ["hold", "ignore"])
def test_the_end_of_stdin_ends_the_backend_at_once(peer: Peer, kind: str) -> None:
    peer.run("1", kind)
    peer.until("1", "progress")
    assert peer.process.stdin is not None
    peer.process.stdin.close()
    assert peer.process.wait(30) == 0


def test_shutdown_stops_jobs_first(peer: Peer) -> None:
    peer.run("1", "hold")
    peer.until("1", "progress")
    peer.say("2", kind="shutdown")
    peer.until("1", "cancelled")
    assert peer.until("2")["kind"] == "reply"
    assert peer.process.wait(30) == 0


def test_a_client_that_stops_listening_ends_the_backend(peer: Peer) -> None:
    peer.run("1", "hold")
    peer.until("1", "progress")
    assert peer.process.stdout is not None
    peer.events.close()
    peer.process.stdout.close()
    peer.say("2", kind="status")
    peer.process.wait(30)


def test_it_runs_with_lower_priority(peer: Peer) -> None:
    assert psutil.Process(peer.process.pid).nice() > psutil.Process().nice()


def test_a_wrong_job_does_not_wait_for_its_turn(peer: Peer) -> None:
    peer.run("1", "hold")
    peer.until("1", "progress")
    peer.run("2")
    assert peer.until("2")["error"]["code"] == "parameter"
    peer.run("3", "count", "1")
    peer.until("3", "queued")


def test_two_backends_take_turns_on_one_device(peer: Peer, tmp_path: Path) -> None:
    peer.run("1", "hold")
    peer.until("1", "progress")
    second = Peer(tmp_path)
    try:
        second.say("0", **HELLO)
        second.run("1", "count", "2")
        waiting = second.until("1", "waiting")
        assert waiting == {"kind": "waiting", "device": "cpu", "pid": peer.process.pid}
        second.run("2", "hold")
        second.say("3", kind="cancel", job="2")
        second.until("2", "cancelled")
        peer.process.kill()
        assert second.until("1")["result"] == {"counted": 2}
    finally:
        second.end()
