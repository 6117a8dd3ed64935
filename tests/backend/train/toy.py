"""A small objective and its data, and as a script runs of it, alone or under torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from backend.models.layers.experts import Experts
from backend.train.data.source import order_of, part_of, random_of
from backend.train.objectives.objective import Losses, Objective, Progress
from backend.train.optim.schedules import OptimConfig
from backend.train.parallel.processes import processes
from backend.train.parallel.spread import released
from backend.train.trainer import TrainerConfig, train

SAMPLES, BATCH, WIDTH = 24, 8, 6


class Toy(Objective):
    """Regression through two blocks; a buffer counts the steps that were done."""

    steps_done: Tensor

    def __init__(self, break_at: int = -1, die_at: int = -1, experts: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()) for _ in range(2))
        if experts:
            self.layers.append(Experts(WIDTH, WIDTH, 2))
        self.head = nn.Linear(WIDTH, 1)
        self.register_buffer("steps_done", torch.zeros(()))
        self.break_at, self.die_at = break_at, die_at

    def forward(self, batch: tuple[Tensor, Tensor], progress: Progress) -> Losses:
        if progress.step == self.die_at:
            os._exit(9)
        values, wanted = batch
        for layer in self.layers:
            values = layer(values)
        loss = (self.head(values)[:, 0].float() - wanted).square().mean()
        if progress.step == self.break_at:
            loss = loss * float("nan")
        return Losses(loss, {"squared": loss.detach()}, {"samples": len(wanted)})

    def blocks(self) -> Iterable[nn.Module]:
        return self.layers

    def exported(self) -> nn.Module:
        return self.head

    def undecayed(self, name: str) -> bool:
        return name.startswith("head")

    def held(self, name: str, progress: Progress) -> bool:
        return name.startswith("head") and progress.step < 2

    def after_step(self, progress: Progress) -> None:
        self.steps_done += 1


class ToySource:
    """Samples that depend on their number alone."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def batch(self, step: int, part: int, parts: int) -> Any:
        numbers = part_of(order_of(SAMPLES, BATCH, step, seed=3), part, parts)
        self.asked.append(numbers.tolist())
        values = [random_of("sample", number).normal(0, 1, WIDTH) for number in numbers]
        images = torch.from_numpy(np.stack(values)).float()
        return images, images.square().sum(dim=1).sqrt()


def config(**changes: Any) -> TrainerConfig:
    optim = OptimConfig(rate=1e-2, last_rate=1e-3, warm_up=3, decay=0.1, last_decay=0.1, clip=1.0)
    return TrainerConfig(
        **{"steps": 50, "log_every": 1, "checkpoint_every": 10, "device": "cpu", "optim": optim, **changes}
    )


def losses(folder: Path) -> dict[int, float]:
    """Loss by step, the last time that it was done."""
    lines = (folder / "log.jsonl").read_text().splitlines()
    return {entry["step"]: entry["loss"] for entry in map(json.loads, lines)}


ROOT = Path(__file__).resolve().parents[3]


def launched(processes: int, *runs: dict[str, Any]) -> int:
    """Runs as one program on so many processes: each a "folder", what `Toy` takes, and what `config` takes."""
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(several if processes > 1 else []), __file__, json.dumps(runs, default=str)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment = {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 or any("die_at" in run for run in runs), done.stderr[-3000:]
    return done.returncode


def _main() -> None:
    with processes("cpu") as group:
        for given in json.loads(sys.argv[1]):
            folder = Path(given.pop("folder"))
            objective = Toy(**{name: given.pop(name) for name in ("die_at", "experts") if name in given})
            train(objective, ToySource(), config(**given), folder, group)
            state = released(objective)
            if group.first:
                save_file(state, folder / "released.safetensors")


if __name__ == "__main__":
    _main()
