"""The training loop, from top to bottom."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from backend.protocol.errors import ParameterError
from backend.train.checkpoint import Checkpoints
from backend.train.data.source import Source
from backend.train.log import RunLog
from backend.train.objectives.objective import Objective, Progress
from backend.train.optim.groups import Depth, adjust, optimiser_of
from backend.train.optim.schedules import OptimConfig
from backend.train.parallel.processes import Processes
from backend.train.parallel.spread import Spread

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
        log_every, checkpoint_every: steps between; 0 for never.
        keep: checkpoints that are kept.
        resume: whether a run of this folder goes on.
        stop_at: step at which to end without finishing the schedule; 0 for none.
        optim: the optimiser.
    """

    steps: int = 1000
    accumulate: int = 1
    precision: str = "fp32"
    spread: str = "auto"
    recompute: bool = False
    compiled: bool = False
    device: str = "auto"
    log_every: int = 10
    checkpoint_every: int = 1000
    keep: int = 2
    resume: bool = False
    stop_at: int = 0
    optim: OptimConfig = field(default_factory=OptimConfig)


def train(
    objective: Objective,
    source: Source,
    config: TrainerConfig,
    folder: Path,
    group: Processes,
    about: dict[str, Any] | None = None,
    depth: Depth | None = None,
) -> dict[str, Any]:
    """Train an objective; the network that is released is `objective.exported()` afterwards.

    Args:
        objective: initialised, the same in every process.
        source: batches by step.
        config: see there.
        folder: the run folder; refused when it holds a run, unless that goes on.
        group: the processes.
        about: what else is frozen into the run folder, such as the recipe's configuration.
        depth: layers between a parameter and the top, for `OptimConfig.layer_decay`.

    Returns:
        steps done, skipped ones, the last logged losses.

    Raises:
        ParameterError: the folder holds a run already, or one that does not fit.
    """
    kind = config.spread if config.spread != "auto" else "ddp" if group.count > 1 else "none"
    spread = Spread(objective, group, kind, config.recompute, config.compiled)
    optimiser = optimiser_of(objective, config.optim, depth)
    checkpoints = Checkpoints(folder, group, config.keep)
    first, skipped = _begin(objective, optimiser, config, folder, checkpoints, group, about)
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    last = min(config.steps, config.stop_at or config.steps)
    in_a_row = 0
    with RunLog(folder, group, config.steps) as log:
        for step, batches in _ahead(source, range(first, last), config.accumulate, group, log):
            progress = Progress(step, config.steps)
            optimiser.zero_grad(set_to_none=True)
            parts: Counter[str] = Counter()
            for number, batch in enumerate(batches):
                with spread.accumulating(more=number + 1 < len(batches)), _precision(config, group):
                    losses = spread(batch, progress)
                (losses.total / len(batches)).backward()
                log.add(losses, len(batches))
                parts.update(losses.counts)
            rate = adjust(optimiser, objective, config.optim, progress)
            norm = nn.utils.clip_grad_norm_(parameters, config.optim.clip or float("inf"))
            norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
            if group.every(bool(torch.isfinite(norm))):
                optimiser.step()
                objective.after_step(progress)
                in_a_row = 0
            else:
                skipped, in_a_row = skipped + 1, in_a_row + 1
                _give_up_after(in_a_row, step)
            log.step(step, {"rate": rate, "norm": float(norm), "skipped": skipped}, parts, config.log_every)
            done = step + 1
            if config.checkpoint_every and (done % config.checkpoint_every == 0 or done == last):
                checkpoints.save(done, objective, optimiser, {"skipped": skipped})
        return {"steps": last, "skipped": skipped, "last": log.last}


def _begin(
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    config: TrainerConfig,
    folder: Path,
    checkpoints: Checkpoints,
    group: Processes,
    about: dict[str, Any] | None,
) -> tuple[int, int]:
    """Freeze the configuration, or go on with a run: the first step to do, and steps skipped so far."""
    frozen = folder / "config.json"
    found = checkpoints.found()
    if config.resume and found:
        state = checkpoints.load(found[-1], objective, optimiser)
        LOG.info("going on from %s", found[-1].name)
        return int(state["step"]), int(state["skipped"])
    if frozen.exists() and not config.resume:
        raise ParameterError(f"{folder} holds a run already", "", "go on with --trainer.resume, or name another folder")
    group.wait()
    if group.first:
        folder.mkdir(parents=True, exist_ok=True)
        frozen.write_text(json.dumps({"trainer": asdict(config), **(about or {})}, indent=1, default=str))
    return 0, 0


def _ahead(
    source: Source, steps: range, accumulate: int, group: Processes, log: RunLog
) -> Iterator[tuple[int, list[Any]]]:
    """Every step with the parts of its batch that belong to this process; the next step is read meanwhile."""

    def parts(step: int) -> list[Any]:
        mine = range(group.rank * accumulate, (group.rank + 1) * accumulate)
        return [source.batch(step, part, group.count * accumulate) for part in mine]

    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(parts, steps.start) if steps else None
        for step in steps:
            assert waiting is not None
            begun = time.perf_counter()
            batches = waiting.result()
            log.waited(time.perf_counter() - begun)
            waiting = reader.submit(parts, step + 1) if step + 1 < steps.stop else None
            yield step, [_moved(batch, group.device) for batch in batches]


def _moved(value: Any, device: torch.device) -> Any:
    """Tensors of a batch on a device, in whatever tuples, lists and dictionaries."""
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_moved(part, device) for part in value))
    if isinstance(value, (list, tuple)):
        return type(value)(_moved(part, device) for part in value)
    return {key: _moved(part, device) for key, part in value.items()} if isinstance(value, dict) else value


def _precision(config: TrainerConfig, group: Processes) -> torch.autocast:
    return torch.autocast(group.device.type, dtype=torch.bfloat16, enabled=config.precision == "bf16")


def _give_up_after(in_a_row: int, step: int) -> None:
    if in_a_row >= MOST_SKIPPED:
        raise ParameterError(
            f"training has diverged at step {step}",
            f"{in_a_row} losses or gradients in a row were not finite",
            "lower the learning rate, or look at the data of these steps",
        )
