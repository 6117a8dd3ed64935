"""Checkpoints are complete or not there, hold tensors only, and are refused where they do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from backend.protocol.errors import ParameterError
from backend.train.checkpoint import Checkpoints
from backend.train.objectives.objective import Progress
from backend.train.optim.groups import optimiser_of
from backend.train.optim.schedules import OptimConfig
from backend.train.parallel.processes import Processes
from tests.backend.train.toy import Toy

ALONE = Processes(0, 1, torch.device("cpu"))


def saved(folder: Path, *steps: int, keep: int = 2) -> tuple[Toy, Checkpoints]:
    objective = Toy()
    optimiser = optimiser_of(objective, OptimConfig())
    objective((torch.ones(4, 6), torch.ones(4)), Progress(0, 1)).total.backward()
    optimiser.step()
    store = Checkpoints(folder, ALONE, keep)
    for step in steps:
        store.save(step, objective, optimiser, {"skipped": 3})
    return objective, store


def test_the_latest_are_kept_and_half_ones_are_none(tmp_path: Path) -> None:
    _, store = saved(tmp_path, 10, 20, 30)
    store.finish()
    (tmp_path / "checkpoints" / "step-00000060.part").mkdir()
    (tmp_path / "checkpoints" / "step-00000070").mkdir()
    assert [path.name for path in store.found()] == ["step-00000020", "step-00000030"]


def test_values_are_those_of_the_moment_of_saving(tmp_path: Path) -> None:
    objective, store = saved(tmp_path, 10)
    wanted = {name: value.clone() for name, value in objective.state_dict().items()}
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.fill_(7.0)
    store.finish()
    other = Toy()
    optimiser = optimiser_of(other, OptimConfig())
    assert store.load(store.found()[0], other, optimiser) == {"skipped": 3, "step": 10}
    for name, value in other.state_dict().items():
        assert torch.equal(value, wanted[name]), name
    assert all(float(optimiser.state[parameter]["step"]) == 1 for parameter in other.parameters())
    assert all(optimiser.state[parameter]["exp_avg_sq"].any() for parameter in other.parameters())


def test_no_file_of_a_checkpoint_is_an_index_by_pickle(tmp_path: Path) -> None:
    _, store = saved(tmp_path, 10)
    store.finish()
    found = store.found()[0]
    assert sorted(path.suffix for path in found.iterdir()) == [".distcp", ".json", ".json"]
    index = json.loads((found / "index.json").read_text())
    assert index["model.head.weight"]["size"] == [1, 6]


def test_one_of_another_network_is_refused(tmp_path: Path) -> None:
    _, store = saved(tmp_path, 10)
    store.finish()
    for wrong in (nn.Linear(9, 1), nn.Linear(6, 1).requires_grad_(False)):
        other = Toy()
        other.head = wrong
        other.register_parameter("more", nn.Parameter(torch.zeros(1)))
        with pytest.raises(ParameterError, match="cannot be continued"):
            store.load(store.found()[0], other, optimiser_of(other, OptimConfig()))
