"""The command line of training: recipes with every field as an option."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from backend.train import __main__ as program
from backend.train.recipes import NAMES, Recipe, recipe
from backend.train.trainer import TrainerConfig
from tests.backend.train.toy import ROOT


@dataclass(frozen=True)
class Configuration:
    """A configuration.

    Attributes:
        data: where from.
        output: where to.
        trainer: how.
    """

    data: Path
    output: Path
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


def small(data: Path, output: Path) -> Configuration:
    """A small recipe."""
    return Configuration(data, output, TrainerConfig(steps=7, precision="bf16"))


def run(configuration: Configuration) -> dict[str, Any]:
    return {"steps": configuration.trainer.steps}


SMALL = Recipe("small", small, run, "A small recipe.")


def chosen(*options: str) -> Configuration:
    found = program.configuration(SMALL, ["--data", "a", "--output", "b", *options])
    assert isinstance(found, Configuration)
    return found


def test_a_recipe_sets_what_no_option_names() -> None:
    found = chosen()
    assert (found.data, found.output) == (Path("a"), Path("b"))
    assert (found.trainer.steps, found.trainer.precision, found.trainer.resume) == (7, "bf16", False)


def test_fields_at_any_depth_are_options_and_the_usual_ones_have_short_names() -> None:
    found = chosen("--steps", "20", "--trainer.optim.clip", "0.5", "--resume")
    assert (found.trainer.steps, found.trainer.optim.clip, found.trainer.resume) == (20, 0.5, True)
    assert chosen("--trainer.steps", "21", "--trainer.spread", "fsdp").trainer.steps == 21


@pytest.mark.parametrize("options", [["--data", "a"], ["--data", "a", "--output", "b", "--stepps", "3"]])
def test_what_is_missing_or_unknown_ends_with_code_2(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.configuration(SMALL, options)
    assert ended.value.code == 2 and ("output" in capsys.readouterr().err or "stepps" in options[-2])


def test_every_recipe_says_what_it_is() -> None:
    for name in NAMES:
        assert recipe(name).summary.endswith("."), name


@pytest.mark.slow
def test_the_list_names_all_recipes_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    listed = subprocess.run([sys.executable, "-m", "backend.train", "list"], cwd=ROOT, capture_output=True, text=True)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(NAMES)


def test_a_wrong_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["water"]) == 2
    assert "no recipe 'water'" in (said := capsys.readouterr().err) and "water_baseline" in said
