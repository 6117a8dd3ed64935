"""The training loop, from top to bottom."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import nn
from tyro.conf import arg

from backend.protocol.errors import ParameterError
from backend.train import run_folder
from backend.train.checkpoint import Checkpoints
from backend.train.data.ahead import Parts, moved, read_ahead
from backend.train.data.source import Source, random_of
from backend.train.log import RunLog
from backend.train.objectives.objective import Losses, Objective, Progress
from backend.train.optim.groups import Depth, adjust, optimiser_of
from backend.train.optim.schedules import OptimConfig
from backend.train.parallel.processes import Processes
from backend.train.parallel.spread import KINDS, Spread

LOG = logging.getLogger(__name__)
# A loss that is not finite is left out; this many in a row are no accident.
MOST_SKIPPED = 20


@dataclass(frozen=True)
class TrainerConfig:
    """How long, on what, and what is written.

    Attributes:
        steps: optimiser steps.
        accumulate: parts of a process's share of a batch that are computed one after the other.
        precision: "fp32" or "bf16" (autocast; losses stay in float32).
        spread: "none", "ddp" or "fsdp"; "auto" for copies where there are several processes.
        recompute: activations of blocks are computed again for the gradients.
        compiled: blocks are compiled.
        device: "auto", "cpu" or "cuda".
        log_every: steps between lines of the log.
        checkpoint_every: steps between checkpoints; 0 for the last alone.
        picture_every: steps between learning curves and example pictures; 0 for the learning curve at the end alone.
        keep: checkpoints that are kept.
        resume: whether a run of this folder goes on.
        stop_at: step at which to end without finishing the schedule; 0 for none.
        workers: processes that read data, for each process that trains; 0 for a thread.
        seed: of what torch draws during training, such as dropped paths.
        optim: the optimiser.
    """

    steps: Annotated[int, arg(aliases=("--steps",))] = 1000
    accumulate: int = 1
    precision: str = "fp32"
    spread: str = "auto"
    recompute: bool = False
    compiled: bool = False
    device: Annotated[str, arg(aliases=("--device",))] = "auto"
    log_every: int = 10
    checkpoint_every: int = 1000
    picture_every: int = 0
    keep: int = 2
    resume: Annotated[bool, arg(aliases=("--resume",))] = False
    stop_at: int = 0
    workers: int = 0
    seed: int = 0
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        if self.precision not in ("fp32", "bf16"):
            raise ParameterError(f"there is no precision {self.precision!r}", "", 'name "fp32" or "bf16"')
        if self.spread not in ("auto", *KINDS):
            raise ParameterError(f"a network is not spread by {self.spread!r}", "", f"name auto, {', '.join(KINDS)}")
        if min(self.steps, self.accumulate, self.log_every, self.keep) < 1:
            raise ParameterError("steps, accumulate, log_every and keep are at least 1", "", "name larger numbers")


def train(
    objective: Objective,
    source: Source,
    config: TrainerConfig,
    folder: Path,
    group: Processes,
    about: Any = None,
    depth: Depth | None = None,
) -> dict[str, Any]:
    """Train an objective; `parallel.spread.released(objective.exported())` is what came of it.

    Args:
        objective: initialised, the same in every process.
        source: batches by step.
        config: see there.
        folder: the run folder; refused when it holds a run, unless that goes on.
        group: the processes.
        about: what else is frozen into the run folder, such as the recipe's configuration.
        depth: layers between a parameter and the top, for `OptimConfig.layer_decay`.

    Returns:
        steps done, skipped ones, the last line of the log.

    Raises:
        ParameterError: the folder holds a run already, or one that does not fit; the processes need a way to spread
            the network; training has diverged.
    """
    spread = Spread(objective, group, _kind(config, group), config.recompute, config.compiled)
    optimiser = optimiser_of(objective, config.optim, depth)
    checkpoints = Checkpoints(folder, group, config.keep)
    first, skipped = _begin(objective, optimiser, config, folder, checkpoints, group, about)
    last = min(config.steps, config.stop_at or config.steps)
    in_a_row = 0
    with RunLog(folder, group, first, config.steps) as log:
        for step, batches in _batches(source, range(first, last), config, group, log):
            done, progress = step + 1, Progress(step, config.steps)
            optimiser.zero_grad(set_to_none=True)
            losses = _gradients(spread, batches, progress, config, group)
            rate = adjust(optimiser, objective, config.optim, progress)
            norm = _clipped(objective, config.optim.clip)
            good = group.every(bool(torch.isfinite(norm)))
            if good:
                optimiser.step()
                objective.after_step(progress)
                in_a_row = 0
            else:
                skipped, in_a_row = skipped + 1, in_a_row + 1
                _give_up_after(in_a_row, step)
            values = {"rate": rate, "norm": float(norm) if good else None, "skipped": skipped}
            log.step(step, losses if good else [], values, write=_due(done, config.log_every, last))
            checkpoints.finish(wait=False)
            if _due(done, config.checkpoint_every, last):
                checkpoints.save(done, objective, optimiser, {"skipped": skipped})
            if _due(done, config.picture_every, last):
                log.curve()
                if config.picture_every:
                    _draw(objective, batches[0], progress, log)
        checkpoints.finish()
        return {"steps": last, "skipped": skipped, "last": log.last}


def _kind(config: TrainerConfig, group: Processes) -> str:
    """How the network is spread."""
    if config.spread == "none" and group.count > 1:
        raise ParameterError(
            f"{group.count} processes cannot train a network that is not spread", "", 'name "auto", "ddp" or "fsdp"'
        )
    return config.spread if config.spread != "auto" else "ddp" if group.count > 1 else "none"


def _begin(
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    config: TrainerConfig,
    folder: Path,
    checkpoints: Checkpoints,
    group: Processes,
    about: Any,
) -> tuple[int, int]:
    """Freeze the configuration, or go on with a run: the first step to do, and steps skipped so far."""
    found = checkpoints.found() if config.resume else []
    if not config.resume and run_folder.holds_run(folder):
        raise ParameterError(f"{folder} holds a run already", "", "go on with --trainer.resume, or name another folder")
    state = checkpoints.load(found[-1], objective, optimiser) if found else {"step": 0, "skipped": 0}
    group.wait()  # nobody writes before all have looked
    if group.first:
        run_folder.freeze(folder, {"trainer": config, "recipe": about}, group.count, state["step"])
    if found:
        LOG.info("going on from %s", found[-1].name)
    return int(state["step"]), int(state["skipped"])


def _batches(
    source: Source, steps: range, config: TrainerConfig, group: Processes, log: RunLog
) -> Iterator[tuple[int, list[Any]]]:
    """Every step with the parts of its batch that belong to this process."""
    own = range(group.rank * config.accumulate, (group.rank + 1) * config.accumulate)
    parts = Parts(source, own, group.count * config.accumulate)
    ahead = read_ahead(parts, steps, config.workers, pinned=group.device.type == "cuda")
    for step in steps:
        begun = time.perf_counter()
        batches = next(ahead)
        log.waited(time.perf_counter() - begun)
        yield step, [moved(batch, group.device) for batch in batches]


def _gradients(
    spread: Spread, batches: list[Any], progress: Progress, config: TrainerConfig, group: Processes
) -> list[Losses]:
    """Gradients of the mean loss of the parts, and the losses of each without its graph."""
    found = []
    for number, batch in enumerate(batches):
        part = group.rank * len(batches) + number
        torch.manual_seed(int(random_of(config.seed, "torch", progress.step, part).integers(2**63)))
        autocast = torch.autocast(group.device.type, dtype=torch.bfloat16, enabled=config.precision == "bf16")
        with spread.accumulating(more=number + 1 < len(batches)):
            with autocast:
                losses = spread(batch, progress)
            (losses.total / len(batches)).backward()
        found.append(losses._replace(total=losses.total.detach()))
    return found


def _clipped(objective: Objective, most: float) -> torch.Tensor:
    """The norm of all gradients together, over all shards, after which it is at most `most`; 0 for any."""
    parameters = [parameter for parameter in objective.parameters() if parameter.grad is not None]
    norm = nn.utils.clip_grad_norm_(parameters, most or float("inf"))
    full = getattr(norm, "full_tensor", None)
    return full() if callable(full) else norm


def _draw(objective: Objective, batch: Any, progress: Progress, log: RunLog) -> None:
    """Example pictures of a batch."""
    with torch.no_grad():
        for name, image in objective.pictures(batch, progress).items():
            log.picture(progress.step + 1, name, image)


def _due(done: int, every: int, last: int) -> bool:
    return done == last or bool(every and done % every == 0)


def _give_up_after(in_a_row: int, step: int) -> None:
    if in_a_row >= MOST_SKIPPED:
        raise ParameterError(
            f"training has diverged at step {step}",
            f"{in_a_row} losses or gradients in a row were not finite",
            "lower the learning rate, or look at the data of these steps",
        )
