"""The loop: the same on one process and on two, exact after a crash, and not thrown by a bad batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from backend.protocol.errors import ParameterError
from backend.train.checkpoint import Checkpoints
from backend.train.parallel.processes import Processes
from backend.train.trainer import MOST_SKIPPED, train
from tests.backend.train.toy import Toy, ToySource, config, losses

ALONE = Processes(0, 1, torch.device("cpu"))
ROOT = Path(__file__).resolve().parents[3]


def run(folder: Path, objective: Toy | None = None, **changes: Any) -> tuple[Toy, dict[str, Any]]:
    objective = objective or Toy()
    return objective, train(objective, ToySource(), config(**changes), folder, ALONE)


def launched(folder: Path, count: int, **changes: Any) -> int:
    """Run as a program, on `count` processes."""
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)] if count > 1 else []
    command = [sys.executable, *start, str(ROOT / "tests" / "backend" / "train" / "toy.py"), str(folder)]
    done = subprocess.run([*command, json.dumps(changes)], cwd=ROOT, env=_environment(), capture_output=True, text=True)
    assert done.returncode == 0 or "die_at" in changes, done.stderr[-3000:]
    return done.returncode


def _environment() -> dict[str, str]:
    import os

    kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(folder)
    return folder


def test_it_learns_and_says_what_it_did(whole: Path) -> None:
    found = losses(whole)
    assert list(found) == list(range(1, 51)) and found[50] < 0.3 * found[1]
    last = json.loads((whole / "log.jsonl").read_text().splitlines()[-1])
    assert last["counts"]["samples"] == 8 and last["samples_per_s"] > 0 and 0 <= last["data_wait_share"] <= 1
    assert last["rate"] == pytest.approx(1e-3) and last["losses"]["squared"] == pytest.approx(last["loss"])
    frozen = json.loads((whole / "config.json").read_text())
    assert frozen["trainer"]["steps"] == 50 and frozen["trainer"]["optim"]["clip"] == 1.0
    assert list((whole / "tensorboard").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("spread", ["ddp", "fsdp"])
def test_two_processes_equal_one(whole: Path, tmp_path: Path, spread: str) -> None:
    launched(tmp_path / "run", 2, spread=spread, stop_at=20)
    one, two = losses(whole), losses(tmp_path / "run")
    assert len(two) == 20
    assert max(abs(one[step] - two[step]) for step in two) < 1e-5


def test_parts_of_a_batch_and_recomputation_change_nothing(whole: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", accumulate=4, recompute=True, stop_at=20)
    one, parts = losses(whole), losses(tmp_path / "run")
    assert max(abs(one[step] - parts[step]) for step in parts) < 1e-5


def test_a_killed_run_goes_on_as_if_nothing_had_happened(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert launched(folder, 1, die_at=27) == 9
    objective, _ = run(folder, resume=True)
    one, two = losses(whole), losses(folder)
    assert max(abs(one[step] - two[step]) for step in one) < 1e-6
    assert float(objective.steps_done) == 50


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder, stop_at=20)
    launched(folder, 2, resume=True, spread="fsdp", stop_at=30)
    one, two = losses(whole), losses(folder)
    assert max(abs(one[step] - two[step]) for step in two) < 1e-5 and max(two) == 30


def test_a_batch_without_a_finite_loss_is_left_out(tmp_path: Path) -> None:
    before = Toy()
    objective, report = run(tmp_path / "run", Toy(break_at=4), steps=10)
    assert report["skipped"] == 1 and float(objective.steps_done) == 9
    assert all(parameter.isfinite().all() for parameter in objective.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before.parameters(), objective.parameters(), strict=True))


def test_a_run_that_has_diverged_ends_with_a_sentence(tmp_path: Path) -> None:
    class Diverged(Toy):
        def forward(self, batch: Any, progress: Any) -> Any:
            found = super().forward(batch, progress)
            return found._replace(total=found.total * float("inf"))

    with pytest.raises(ParameterError, match="diverged"):
        run(tmp_path / "run", Diverged(), steps=2 * MOST_SKIPPED)


def test_what_is_held_does_not_move_and_gradients_are_clipped(tmp_path: Path) -> None:
    objective = Toy()
    before = objective.head.weight.detach().clone()
    train(objective, ToySource(), config(steps=2), tmp_path / "a", ALONE)
    assert torch.equal(objective.head.weight, before)
    norms = [json.loads(line)["norm"] for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    assert all(norm > 0 for norm in norms)


def test_a_folder_with_a_run_is_refused_unless_it_goes_on(tmp_path: Path) -> None:
    run(tmp_path / "run", steps=2)
    with pytest.raises(ParameterError, match=r"--trainer\.resume"):
        run(tmp_path / "run", steps=2)


def test_the_latest_checkpoints_are_kept_and_half_ones_are_none(tmp_path: Path) -> None:
    run(tmp_path / "run", keep=2)
    store = Checkpoints(tmp_path / "run", ALONE)
    assert [path.name for path in store.found()] == ["step-00000040", "step-00000050"]
    (tmp_path / "run" / "checkpoints" / "step-00000060.part").mkdir()
    (tmp_path / "run" / "checkpoints" / "step-00000070").mkdir()
    assert [path.name for path in store.found()] == ["step-00000040", "step-00000050"]


def test_every_process_gets_its_own_part_and_all_samples_come_once_an_epoch() -> None:
    whole, first, second = ToySource(), ToySource(), ToySource()
    for step in range(6):
        whole.batch(step, 0, 1)
        first.batch(step, 0, 2)
        second.batch(step, 1, 2)
    assert [a + b for a, b in zip(first.asked, second.asked, strict=True)] == whole.asked
    seen = [number for numbers in whole.asked for number in numbers]
    assert sorted(seen[:24]) == sorted(seen[24:]) == list(range(24)) and seen[:24] != seen[24:]
