"""Two processes do what one does, as copies and in shards, and go on with what one began."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from backend.train.parallel.processes import Processes
from backend.train.parallel.spread import Spread, released
from backend.train.trainer import train
from tests.backend.train.toy import Toy, ToySource, config, launched, losses

ALONE = Processes(0, 1, torch.device("cpu"))
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs by two processes, and by one: "one", the first part of "resumed", the last part of "back"."""
    folder = tmp_path_factory.mktemp("runs")
    objective = Toy(experts=True)
    train(objective, ToySource(), config(stop_at=30), folder / "one", ALONE)
    save_file(released(objective), folder / "one" / "released.safetensors")
    train(objective, ToySource(), config(stop_at=40, resume=True), folder / "one", ALONE)
    train(Toy(experts=True), ToySource(), config(stop_at=20), folder / "resumed", ALONE)
    runs = [
        {"folder": folder / "ddp", "spread": "ddp", "stop_at": 20, "accumulate": 2},
        {"folder": folder / "fsdp", "spread": "fsdp", "stop_at": 30, "recompute": True, "accumulate": 2},
        {"folder": folder / "resumed", "spread": "fsdp", "stop_at": 30, "resume": True},
    ]
    launched(2, *({**run, "experts": True} for run in runs))
    shutil.copytree(folder / "fsdp", folder / "back")
    train(Toy(experts=True), ToySource(), config(stop_at=40, resume=True), folder / "back", ALONE)
    return folder


@pytest.mark.parametrize(("name", "steps"), [("ddp", 20), ("fsdp", 30), ("resumed", 30), ("back", 40)])
def test_losses_equal_those_of_one_process(folders: Path, name: str, steps: int) -> None:
    one, two = losses(folders / "one"), losses(folders / name)
    assert list(two) == list(range(1, steps + 1))
    assert max(abs(one[step] - two[step]) for step in two) < 1e-5


@pytest.mark.parametrize("name", ["fsdp", "resumed"])
def test_shards_are_put_together_for_release(folders: Path, name: str) -> None:
    one, found = (load_file(folders / folder / "released.safetensors") for folder in ("one", name))
    assert found.keys() == one.keys()
    for key, value in one.items():
        torch.testing.assert_close(found[key], value, atol=1e-5, rtol=0)


def test_several_processes_need_a_way_to_spread() -> None:
    with pytest.raises(ValueError, match="cannot be spread"):
        Spread(Toy(), Processes(0, 2, torch.device("cpu")), "none")
