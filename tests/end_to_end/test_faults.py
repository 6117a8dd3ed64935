"""Full disks, read-only folders, sources that vanish, Ctrl-C: chunks are kept and nothing is left half done."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rasterio

from tests.end_to_end.command import one_sentence
from tests.end_to_end.processes import (
    RASTERS,
    Ended,
    Shared,
    Task,
    assert_same,
    ended,
    results,
    unfinished,
)

resource = pytest.importorskip("resource", reason="this system has no limits on what a process may write")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return Shared.make(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def finished(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """A run without a fault."""
    task = shared.task(tmp_path_factory.mktemp("finished"))
    assert task.run().code == 0
    return task


@pytest.fixture(scope="module")
def uncut(finished: Task) -> dict[str, Any]:
    """What it gave."""
    return results(finished)


@pytest.fixture
def task(shared: Shared, tmp_path: Path) -> Task:
    """A run on a scene of its own."""
    scene = tmp_path / "scene.tif"
    shutil.copy2(shared.scene, scene)
    (tmp_path / "run").mkdir()
    return Task(scene, shared.model, tmp_path / "run")


class Disk:
    """A small file system of its own, in memory."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def mount(self, *options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "earthprism-test", str(self.place)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.place)], capture_output=True, check=False)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mounted where the system permits it; the test is skipped, visibly, where it does not."""
    place = tmp_path / "disk"
    place.mkdir()
    found = Disk(place)
    if shutil.which("mount") is None or not found.mount("size=64m"):
        pytest.skip("this user may not mount file systems")
    yield found
    found.unmount()


def assert_clear(outcome: Ended, *words: str) -> None:
    """Exit code 2 and one sentence that holds the words."""
    assert outcome.code == 2, outcome
    sentence = one_sentence(outcome.message)
    assert any(word in sentence for word in words), sentence


def assert_nothing_half(task: Task) -> None:
    """What carries a final name is whole, and no temporary file lies about."""
    assert unfinished(task.folder) == []
    for name in RASTERS:
        path = task.folder / name
        if path.exists():
            with rasterio.open(path) as dataset:
                assert dataset.overviews(1) and dataset.checksum(1) >= 0


def assert_resumes(task: Task, expected: dict[str, Any]) -> None:
    """The rest is computed and the result is what it would have been."""
    assert task.run("--resume").code == 0
    assert not task.parts.exists()
    assert_same(results(task), expected)


# Shares of what all results need together: the disk is full while chunks, or while final files are written.
@pytest.mark.slow
@pytest.mark.parametrize("share", [0.01, 0.08, 0.4, 0.9])
def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_room(
    task: Task, disk: Disk, finished: Task, uncut: dict[str, Any], share: float
) -> None:
    task = Task(task.scene, task.model, disk.place)
    needed = sum(path.stat().st_size for path in finished.folder.iterdir())
    assert disk.mount("remount", f"size={max(64 << 10, int(share * needed))}")
    assert_clear(task.run(), "the disk is full", "No space left")
    assert not task.output.exists()
    assert_nothing_half(task)
    assert disk.mount("remount", "size=256m")
    assert_resumes(task, uncut)


def test_a_limit_on_the_size_of_files_is_a_full_disk(task: Task, uncut: dict[str, Any]) -> None:
    """Needs no rights, hence runs everywhere: chunks are small enough, a final file is not."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))

    outcome = task.run(preexec_fn=limit)
    assert_clear(outcome, "the disk is full", "too large")
    assert task.chunks() and not task.output.exists()
    assert_nothing_half(task)
    assert_resumes(task, uncut)


def test_a_read_only_folder_is_refused_before_anything_is_computed(task: Task, disk: Disk) -> None:
    assert disk.mount("remount", "ro")
    task = Task(task.scene, task.model, disk.place)
    assert_clear(task.run(), "cannot be written")
    assert task.left_over() == set()


def test_a_folder_that_turns_read_only_keeps_its_chunks(task: Task, disk: Disk, uncut: dict[str, Any]) -> None:
    task = Task(task.scene, task.model, disk.place)
    process = task.start()
    task.wait_for_chunks(process, 3)
    while not disk.mount("remount", "ro"):  # refused while a file is being written
        assert process.poll() is None
    assert_clear(ended(process), "cannot be written")
    assert len(task.chunks()) >= 3
    assert disk.mount("remount", "rw")
    assert_resumes(task, uncut)


@pytest.mark.parametrize("fault", ["deleted", "truncated", "replaced"])
def test_a_source_that_does_not_stay_is_named_and_its_return_is_enough(
    task: Task, uncut: dict[str, Any], fault: str
) -> None:
    content, status = task.scene.read_bytes(), task.scene.stat()
    process = task.start()
    task.wait_for_chunks(process, 3)
    if fault == "deleted":
        task.scene.unlink()
    elif fault == "truncated":
        os.truncate(task.scene, len(content) // 2)
    else:
        task.scene.write_bytes(content[::-1])
    outcome = ended(process)
    assert_clear(outcome, "scene.tif")
    assert task.chunks() and not task.left_over()
    assert_nothing_half(task)
    task.scene.write_bytes(content)
    os.utime(task.scene, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert_resumes(task, uncut)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_polite_signal_cancels_and_keeps_the_chunks(
    task: Task, uncut: dict[str, Any], number: signal.Signals
) -> None:
    process = task.start()
    task.wait_for_chunks(process, 3)
    process.send_signal(number)
    outcome = ended(process)
    assert outcome.code == 3 and "cancelled" in outcome.message
    assert len(task.chunks()) >= 3 and not task.left_over()
    assert_nothing_half(task)
    assert_resumes(task, uncut)


def test_a_signal_while_final_files_are_written_leaves_none_of_them_half(task: Task, uncut: dict[str, Any]) -> None:
    process = task.start()
    while not list(task.folder.glob("*.part")):  # the first final file has been begun
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    outcome = ended(process)
    assert outcome.code == 3 and not task.output.exists()
    assert_nothing_half(task)
    assert_resumes(task, uncut)


def test_a_signal_before_the_first_chunk_leaves_nothing(task: Task) -> None:
    process = task.start()
    while not task.parts.exists():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    outcome = ended(process)
    assert outcome.code == 3
    assert task.chunks() or list(task.folder.iterdir()) == []
