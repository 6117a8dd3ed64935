"""The client that QGIS uses, with real backend processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from earthprism.backend.protocol import messages
from earthprism.backend.protocol.errors import Cancelled, EarthPrismError, PackageError, ProtocolError, SourceError
from earthprism.backend.protocol.jobs import ComputeSpec, InstallJob, RemoveJob, SegmentJob
from earthprism.plugin.client import Client, clean_environment, start_command
from earthprism.plugin.errors import BackendDied, BackendNotStarted, BackendTimeout

from tests.packages import identity_package

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = ROOT / "tests" / "backend" / "service" / "stand_in.py"
COMMAND = [sys.executable, "-I", "-X", "utf8", "-u", str(STAND_IN), str(ROOT)]


def job(*models: str) -> SegmentJob:
    return SegmentJob((), models, "o.tif", compute=ComputeSpec(device="cpu"))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def build(command: list[str] = COMMAND) -> Client:
        clients.append(Client(command, {"EARTHPRISM_HOME": str(tmp_path)}, "test"))
        return clients[-1]

    yield build
    for client in clients:
        client.close()


@pytest.fixture
def client(make: Callable[..., Client]) -> Client:
    return make()


def test_the_real_backend_starts_from_its_folder(make: Callable[..., Client], tmp_path: Path) -> None:
    client = make(start_command(sys.executable, ROOT))
    welcome = client.start()
    assert welcome.devices[0].name == "cpu" and welcome.log.startswith(str(tmp_path))
    assert client.start() == welcome
    assert "models" in client.query(messages.ListModels())
    client.close()
    assert not client.alive and not psutil.pid_exists(welcome.pid)


def test_packages_are_installed_and_removed_over_the_wire(make: Callable[..., Client], tmp_path: Path) -> None:
    package = identity_package(tmp_path / "made").root
    client = make(start_command(sys.executable, ROOT))
    assert client.run(InstallJob(str(package)))["name"] == "identity"
    assert "identity" in {model["name"] for model in client.query(messages.ListModels())["models"]}
    assert client.query(messages.VerifyModel("identity", ComputeSpec(device="cpu")))["ok"]
    with pytest.raises(PackageError, match="no-such"):
        client.run(RemoveJob("no-such"))
    assert "identity" in {model.name for model in client.restart().models}
    client.run(RemoveJob("identity"))


def test_progress_and_result(client: Client) -> None:
    seen: list[messages.JobEvent] = []
    assert client.run(job("count", "20"), seen.append) == {"counted": 20}
    progress = [event for event in seen if isinstance(event, messages.Progress)]
    assert progress[-1].fraction == 1.0 and [event.done for event in progress] == sorted(e.done for e in progress)
    assert len([event for event in seen if isinstance(event, messages.ChunkWritten)]) == 20
    assert messages.Warned("that was easy") in seen and messages.Logged("counted") in seen


def test_queries_during_a_job_from_other_threads(client: Client) -> None:
    running, stop = threading.Event(), threading.Event()
    with ThreadPoolExecutor(8) as pool:
        held = pool.submit(client.run, job("hold"), lambda _: running.set(), stop.is_set)
        assert running.wait(60)
        answers = list(pool.map(lambda _: client.query(messages.Status(), timeout=60), range(12)))
        stop.set()
        assert all([entry["running"] for entry in answer["jobs"]] == [True] for answer in answers)
        with pytest.raises(Cancelled):
            held.result(60)


def test_several_threads_share_one_backend(client: Client) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda n: client.run(job("count", str(n))), range(1, 9)))
    assert results == [{"counted": n} for n in range(1, 9)]
    assert len({client.start().pid for _ in range(3)}) == 1


@pytest.mark.parametrize("kind", ["hold", "interrupt"])
def test_a_cancelled_job_leaves_the_backend_usable(client: Client, kind: str) -> None:
    seen: list[messages.JobEvent] = []
    pid = client.start().pid
    with pytest.raises(Cancelled):
        client.run(job(kind), seen.append, lambda: bool(seen))
    assert client.run(job("count", "2")) == {"counted": 2}
    assert client.start().pid == pid


def test_a_job_that_ignores_cancel_is_killed_and_the_next_one_gets_a_new_backend(client: Client) -> None:
    seen: list[messages.JobEvent] = []
    pid = client.start().pid
    with pytest.raises(Cancelled, match="did not stop by itself"):
        client.run(job("ignore"), seen.append, lambda: bool(seen))
    assert not psutil.pid_exists(pid)
    assert client.run(job("count", "1")) == {"counted": 1}


def test_a_listener_that_fails_cancels_its_job(client: Client) -> None:
    def fail(_: messages.JobEvent) -> None:
        raise KeyError("deliberate")

    with pytest.raises(KeyError):
        client.run(job("hold"), fail)
    assert client.run(job("count", "1")) == {"counted": 1}  # would wait for ever behind the other one


def test_a_crash_is_told_with_the_last_words_and_can_be_recovered(client: Client) -> None:
    running = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pid = client.start().pid
        with pytest.raises(BackendDied) as caught:
            client.run(job("abort"))
        assert "signal 6" in caught.value.why
        assert any("Aborted" in line for line in caught.value.last_lines)
        other = pool.submit(client.run, job("hold"), lambda _: running.set())
        assert running.wait(60)
        os.kill(client.start().pid, signal.SIGKILL)
        with pytest.raises(BackendDied):
            other.result(60)
    assert client.restart().pid != pid
    assert client.run(job("count", "1")) == {"counted": 1}


def test_errors_keep_their_class(client: Client) -> None:
    with pytest.raises(SourceError, match="it has no CRS; assign one"):
        client.run(job("refuse"))
    with pytest.raises(ProtocolError, match="not available in this version"):
        client.query(messages.UndoLabels("1"))
    with pytest.raises(ProtocolError, match="paths"):
        client.query(messages.Inspect(("a.tif", 3)))  # type: ignore[arg-type]


def test_20_megabytes_there_and_back(client: Client) -> None:
    assert len(client.run(job("text", "20000000"))["text"]) == 20_000_000
    with pytest.raises(EarthPrismError):
        client.query(messages.DescribeModel("x" * 20_000_000))


def test_stray_prints_do_not_break_the_stream(client: Client) -> None:
    assert client.run(job("noise")) == {"stdin": ""}


def test_nothing_of_the_hosts_python_or_gdal_arrives(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = ("PYTHONPATH", "PYTHONHOME", "PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH", "LD_LIBRARY_PATH")
    for name in foreign:
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    result = client.run(job("environment"))
    assert not set(foreign) & set(result["environment"])
    assert result["environment"]["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert "EARTHPRISM_HOME" in result["environment"] and "" not in result["path"]
    assert "PATH" in clean_environment()


def test_what_does_not_start_is_told(make: Callable[..., Client]) -> None:
    with pytest.raises(BackendNotStarted, match="no-such-python"):
        make(["no-such-python"]).start()
    with pytest.raises(BackendNotStarted, match="no module named torch") as caught:
        make([sys.executable, "-c", "import sys; sys.exit('no module named torch')"]).start()
    assert "code 1" in caught.value.why
    with pytest.raises(BackendNotStarted):
        make([sys.executable, "-c", "print('hello')"]).start()


def test_another_version_is_refused_and_both_are_named(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "OLDEST_VERSION", 8)
    monkeypatch.setattr(messages, "NEWEST_VERSION", 9)
    with pytest.raises(ProtocolError, match="8 to 9, the backend 1"):
        client.start()
    assert not client.alive


def test_a_closed_client_stays_closed_until_it_is_restarted(client: Client) -> None:
    client.start()
    client.close()
    client.close()
    with pytest.raises(BackendNotStarted, match="closed"):
        client.run(job("count", "1"))
    client.restart()
    assert client.run(job("count", "1")) == {"counted": 1}


def test_closing_ends_a_run_and_a_start_under_way(make: Callable[..., Client]) -> None:
    running, busy = threading.Event(), make()
    silent = make([sys.executable, "-c", "import sys; sys.stdin.read()"])
    with ThreadPoolExecutor(2) as pool:
        held = pool.submit(busy.run, job("ignore"), lambda _: running.set())
        assert running.wait(60)
        starting = pool.submit(silent.start)
        while not silent.alive:
            pass
        busy.close()
        silent.close()
        with pytest.raises(BackendDied, match="was closed"):
            held.result(60)
        with pytest.raises(BackendNotStarted, match="was closed"):
            starting.result(60)


SILENT = """
import json, sys
hello = json.loads(sys.stdin.readline())
body = {"kind": "welcome", "version": 1, "program": "", "python": "", "pid": 1, "log": ""}
print(json.dumps({"id": "1", "job": hello["id"], "body": body}), flush=True)
sys.stdin.read()
"""


def test_a_question_can_be_given_up(make: Callable[..., Client]) -> None:
    deaf = make([sys.executable, "-c", SILENT])
    with pytest.raises(BackendTimeout, match=r"0\.2 s"):
        deaf.query(messages.Status(), timeout=0.2)
    with pytest.raises(Cancelled):
        deaf.query(messages.Status(), is_cancelled=lambda: True)


HOST = """
import importlib.util, sys
root, *command = sys.argv[1:]
spec = importlib.util.spec_from_file_location("earthprism", root + "/__init__.py", submodule_search_locations=[root])
sys.modules["earthprism"] = importlib.util.module_from_spec(spec)
from earthprism.plugin.client import Client
from earthprism.backend.protocol.jobs import ComputeSpec, InstallJob, RemoveJob, SegmentJob
client = Client(command)
print(client.start().pid, flush=True)
client.run(SegmentJob((), (sys.stdin.readline().strip(),), "o.tif", compute=ComputeSpec(device="cpu")),
           lambda _: print("runs", flush=True))
"""


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_the_backend_ends_when_its_host_dies(tmp_path: Path, sig: signal.Signals) -> None:
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, str(ROOT), *COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "EARTHPRISM_HOME": str(tmp_path)},
        text=True,
    )
    assert host.stdin is not None and host.stdout is not None
    with host:
        backend = psutil.Process(int(host.stdout.readline()))
        host.stdin.write("ignore\n")
        host.stdin.flush()
        assert host.stdout.readline() == "runs\n"
        host.send_signal(sig)
        gone, _ = psutil.wait_procs([backend], 30)
    assert gone == [backend]
