"""The loop: exact after a crash, whatever reads the data, and not thrown by a bad batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from backend.protocol.errors import ParameterError
from backend.train.parallel.processes import Processes
from backend.train.trainer import MOST_SKIPPED, train
from tests.backend.train.toy import Toy, ToySource, config, launched, losses

ALONE = Processes(0, 1, torch.device("cpu"))


def run(folder: Path, objective: Toy | None = None, **changes: Any) -> tuple[Toy, dict[str, Any]]:
    objective = objective or Toy()
    return objective, train(objective, ToySource(), config(**changes), folder, ALONE)


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


def test_parts_of_a_batch_and_recomputation_change_nothing(whole: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", accumulate=4, recompute=True, stop_at=20)
    one, parts = losses(whole), losses(tmp_path / "run")
    assert max(abs(one[step] - parts[step]) for step in parts) < 1e-5


@pytest.mark.slow
def test_processes_that_read_change_nothing(whole: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", workers=1, stop_at=10)
    one, read = losses(whole), losses(tmp_path / "run")
    assert read == {step: one[step] for step in range(1, 11)}


def test_what_torch_draws_follows_from_seed_and_step(tmp_path: Path) -> None:
    class Dropping(Toy):
        def forward(self, batch: Any, progress: Any) -> Any:
            return super().forward((functional.dropout(batch[0], 0.5), batch[1]), progress)

    run(tmp_path / "whole", Dropping(), steps=20, checkpoint_every=5)
    run(tmp_path / "parts", Dropping(), steps=20, stop_at=10)
    torch.manual_seed(77)
    run(tmp_path / "parts", Dropping(), steps=20, resume=True)
    run(tmp_path / "other", Dropping(), steps=20, seed=1)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole") != losses(tmp_path / "other")


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_had_happened(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert launched(1, {"folder": folder, "die_at": 27}) == 9
    objective, _ = run(folder, resume=True)
    one, two = losses(whole), losses(folder)
    assert max(abs(one[step] - two[step]) for step in one) < 1e-6
    assert float(objective.steps_done) == 50
    lines = (folder / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 51))
    # The checkpoint of step 20 may still have been on its way to the disk when the run was killed.
    resumed = [path.name for path in folder.glob("config-*.json")]
    assert (folder / "config.json").is_file() and resumed in (["config-00000010.json"], ["config-00000020.json"])


def test_a_batch_without_a_finite_loss_is_left_out(tmp_path: Path) -> None:
    before = Toy()
    objective, report = run(tmp_path / "run", Toy(break_at=4), steps=10)
    assert report["skipped"] == 1 and float(objective.steps_done) == 9
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["loss"] is None and line["norm"] is None] == [5]
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


@pytest.mark.parametrize("wrong", [{"precision": "fp16"}, {"spread": "tensor"}, {"accumulate": 0}])
def test_a_wrong_setting_is_told_before_anything_starts(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        config(**wrong)


def test_a_folder_with_a_run_is_refused_unless_it_goes_on(tmp_path: Path) -> None:
    run(tmp_path / "run", steps=2)
    with pytest.raises(ParameterError, match=r"--trainer\.resume"):
        run(tmp_path / "run", steps=2)


def test_every_process_gets_its_own_part_and_all_samples_come_once_an_epoch() -> None:
    whole, first, second = ToySource(), ToySource(), ToySource()
    for step in range(6):
        whole.batch(step, 0, 1)
        first.batch(step, 0, 2)
        second.batch(step, 1, 2)
    assert [a + b for a, b in zip(first.asked, second.asked, strict=True)] == whole.asked
    seen = [number for numbers in whole.asked for number in numbers]
    assert sorted(seen[:24]) == sorted(seen[24:]) == list(range(24)) and seen[:24] != seen[24:]
