"""The state of a run on disk: network, optimiser, step; written in the background, beside, and renamed when complete.

Every process writes its own shards (torch.distributed.checkpoint), and a run may go on with another number of
processes. What is drawn at random depends on seed and step, so there is no random state to keep.
"""

from __future__ import annotations

import json
import shutil
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed import checkpoint as distributed_checkpoint
from torch.distributed.checkpoint.api import CheckpointException
from torch.optim import Optimizer

from backend.protocol.errors import ParameterError
from backend.train.objectives.objective import Objective
from backend.train.parallel.processes import Processes
from backend.train.parallel.tensor_files import TensorReader, TensorWriter

STATE = "state.json"
# The moments of AdamW: like the parameter, or numbers of their own.
LIKE_PARAMETER, NUMBERS = ("exp_avg", "exp_avg_sq"), ("step",)


class Checkpoints:
    """The checkpoints of a run folder, `checkpoints/step-00001000`.

    Args:
        folder: the run folder.
        group: who writes.
        keep: how many are kept, the latest.
    """

    def __init__(self, folder: Path, group: Processes, keep: int = 2) -> None:
        self._folder, self._group, self._keep = folder / "checkpoints", group, keep
        self._writing: tuple[Future[Any], Path, dict[str, Any]] | None = None
        # Writing goes on while the network trains, so its messages have channels of their own.
        self._channel = distributed.new_group(backend="gloo") if group.count > 1 else None

    def save(self, step: int, objective: Objective, optimiser: Optimizer, state: dict[str, Any]) -> None:
        """Begin to write a checkpoint; the values are copied before this returns.

        Args:
            step: optimiser steps that are done.
            objective, optimiser: what is stored.
            state: numbers beside them.

        Raises:
            CheckpointException: the last one could not be written.
        """
        self.finish()
        target = self._folder / f"step-{step:08d}"
        part = target.with_name(target.name + ".part")
        if self._group.first:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
        self._group.wait()
        writing = distributed_checkpoint.async_save(
            tensors_of(objective, optimiser),
            storage_writer=TensorWriter(part),
            process_group=self._channel,
            no_dist=self._group.count == 1,
        )
        assert isinstance(writing, Future)
        self._writing = writing, target, {**state, "step": step}

    def finish(self, wait: bool = True) -> None:
        """Give the checkpoint that is being written its name once it is complete; delete those beyond the kept ones.

        Args:
            wait: whether to wait for it; else nothing happens while it is incomplete.

        Raises:
            CheckpointException: it could not be written.
        """
        if self._writing is None or not (wait or self._writing[0].done()):
            return
        (writing, target, state), self._writing = self._writing, None
        writing.result()  # the first process has it when all have written
        if self._group.first:
            part = target.with_name(target.name + ".part")
            (part / STATE).write_text(json.dumps(state), encoding="utf-8")
            shutil.rmtree(target, ignore_errors=True)
            part.rename(target)
            for old in self.found()[: -self._keep]:
                shutil.rmtree(old)

    def found(self) -> list[Path]:
        """Complete checkpoints, oldest first; what was being written when a run died is none."""
        return sorted(
            path for path in self._folder.glob("step-*") if path.suffix != ".part" and (path / STATE).is_file()
        )

    def load(self, path: Path, objective: Objective, optimiser: Optimizer) -> dict[str, Any]:
        """Put a checkpoint into an objective and its optimiser; returns the numbers beside them.

        Raises:
            ParameterError: it does not fit.
        """
        try:
            distributed_checkpoint.load(
                tensors_of(objective, optimiser), storage_reader=TensorReader(path), no_dist=self._group.count == 1
            )
        except (KeyError, ValueError, RuntimeError, CheckpointException) as error:
            raise ParameterError(
                f"{path} cannot be continued", str(error)[:300], "continue with the configuration that it was made with"
            ) from error
        return dict(json.loads((path / STATE).read_text("utf-8")))


def tensors_of(objective: Objective, optimiser: Optimizer) -> dict[str, Any]:
    """All that a run must remember, by name: the very tensors, so that what is read into them is in effect.

    The optimiser's groups need no place: they follow from the configuration. Moments that a parameter does not have
    yet are made, zero as AdamW makes them.
    """
    found: dict[str, Any] = {f"model.{name}": tensor for name, tensor in objective.state_dict().items()}
    for group in optimiser.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            moments = optimiser.state[parameter]
            for kind in LIKE_PARAMETER:
                found[f"optimiser.{kind}.{name}"] = moments.setdefault(kind, _zeros_like(parameter))
            for kind in NUMBERS:
                found[f"optimiser.{kind}.{name}"] = moments.setdefault(kind, torch.zeros((), dtype=torch.float32))
    return found


def _zeros_like(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter, memory_format=torch.preserve_format, requires_grad=False)
