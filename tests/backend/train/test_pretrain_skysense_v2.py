"""Pre-training of SkySense V2 from the command line: a complete run of the real tiny encoder, weights included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from backend.models import encoders
from backend.train import __main__ as program
from backend.train.data.shards import write_shards
from backend.train.recipes import recipe
from backend.train.recipes.pretrain_skysense_v2 import Pretraining
from tests.backend.train.data.test_crops import place

TINY = "pretrain_skysense_v2_tiny"
CROPS = ["--crops.locals", "1", "--crops.global-px.hr", "64", "--crops.global-px.ms", "8", "--crops.global-px.sar", "8"]
SMALL = ["--batch", "2", "--trainer.log-every", "1", "--trainer.device", "cpu", *CROPS]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three places, one of them without radar."""
    write_shards([place(0), place(1, missing=("sar",)), place(2)], tmp_path / "shards")
    return tmp_path / "shards"


def test_a_run_leaves_the_teachers_weights_and_all_that_it_was_made_with(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert program.main([TINY, "--data", str(shards), "--output", str(run), "--steps", "2", *SMALL]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["steps"] == 2 and report["samples"] == 3
    first = encoders.build("skysense-v2-tiny", seed=42).state_dict()
    trained = encoders.load("skysense-v2-tiny", run / "weights.safetensors").state_dict()
    assert all(tensor.isfinite().all() for tensor in trained.values())
    moved = [name for name, tensor in trained.items() if not torch.equal(tensor, first[name])]
    assert len(moved) > len(trained) / 2
    frozen = json.loads((run / "config.json").read_text())
    assert frozen["recipe"]["batch"] == 2 and frozen["recipe"]["objective"]["queries"] == 8
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(line["counts"]["several_modalities"] == 2 for line in lines)


@pytest.mark.parametrize(
    ("member", "outputs", "batch"), [("tiny", 2048, 8), ("small", 8192, 64), ("base", 8192, 64), ("full", 65_536, 1024)]
)
def test_every_member_has_the_specified_settings(member: str, outputs: int, batch: int) -> None:
    """skysense-v2.md, 10.2 and 10.6; the batch of tiny is ours."""
    found = recipe(f"pretrain_skysense_v2_{member}").make(data=Path("data"), output=Path("run"))
    assert isinstance(found, Pretraining)
    assert (found.member, found.objective.outputs, found.batch) == (member, outputs, batch)
    optim = found.trainer.optim
    assert (optim.last_rate, optim.clip, optim.decay) == (1e-6, 3.0, 0.04)
    assert optim.last_decay == (0.2 if member == "full" else 0.04)
    assert found.objective.held_share == (1250 / 600_000 if member == "full" else 0.01)


def test_text_embeddings_need_a_row_for_each_map_class(shards: Path, tmp_path: Path) -> None:
    """Without map classes in the samples there is nothing to align."""
    options = ["--data", str(shards), "--output", str(tmp_path / "run"), "--text-embeddings", "words.safetensors"]
    assert program.main([TINY, *options, *SMALL]) == 2
    assert not (tmp_path / "run" / "log.jsonl").exists()
