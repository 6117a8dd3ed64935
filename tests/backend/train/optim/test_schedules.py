"""Schedules and groups by hand."""

from __future__ import annotations

import pytest

from backend.train.objectives.objective import Progress
from backend.train.optim.groups import parameter_groups
from backend.train.optim.schedules import OptimConfig, cosine, warm_cosine
from tests.backend.train.toy import Toy


def test_the_rate_rises_and_falls() -> None:
    rates = [warm_cosine(Progress(step, 101), 2.0, 0.5, 20) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[19] == pytest.approx(2.0) and rates[20] == pytest.approx(2.0)
    assert rates[60] == pytest.approx(1.25) and rates[100] == pytest.approx(0.5)
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert warm_cosine(Progress(0, 1), 2.0, 0.5, 0) == 2.0


def test_weight_decay_rises_from_its_first_to_its_last_value() -> None:
    config = OptimConfig(decay=0.04, last_decay=0.2)
    assert config.decay_at(Progress(0, 11)) == pytest.approx(0.04)
    assert config.decay_at(Progress(5, 11)) == pytest.approx(0.12)
    assert config.decay_at(Progress(10, 11)) == pytest.approx(0.2)
    assert cosine(2.0, 1.0, 0.0) == 0.0


def test_small_tensors_and_what_the_objective_names_have_no_decay() -> None:
    depth = {"layers.0": 2, "layers.1": 1, "head": 0}
    groups = parameter_groups(Toy(), 0.5, lambda name: next(v for k, v in depth.items() if name.startswith(k)))
    found = {name: (group["decayed"], group["factor"]) for group in groups for name in group["names"]}
    assert found == {
        "layers.0.0.weight": (True, 0.25),
        "layers.0.0.bias": (False, 0.25),
        "layers.1.0.weight": (True, 0.5),
        "layers.1.0.bias": (False, 0.5),
        "head.weight": (False, 1.0),
        "head.bias": (False, 1.0),
    }
