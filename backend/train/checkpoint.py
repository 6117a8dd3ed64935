"""The state of a run on disk, written beside and renamed: network, optimiser, step, in torch's distributed format.

Every process writes its own shards; a run may go on with another number of processes. Torch keeps the index of the
shards as a pickle, so a checkpoint is for going on with a run of one's own and is never installed or exchanged: what is
handed on is a model package.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from torch.distributed import checkpoint as distributed_checkpoint
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.optim import Optimizer

from backend.protocol.errors import ParameterError
from backend.train.objectives.objective import Objective
from backend.train.parallel.processes import Processes

STATE = "state.json"


class Checkpoints:
    """The checkpoints of a run folder, `checkpoints/step-00001000`.

    Args:
        folder: the run folder.
        group: who writes.
        keep: how many are kept, the latest.
    """

    def __init__(self, folder: Path, group: Processes, keep: int = 2) -> None:
        self._folder, self._group, self._keep = folder / "checkpoints", group, keep

    def save(self, step: int, objective: Objective, optimiser: Optimizer, state: dict[str, Any]) -> Path:
        """Write a checkpoint; it has its name only when it is complete.

        Args:
            step: optimiser steps that are done.
            objective, optimiser: what is stored.
            state: numbers beside them.
        """
        target = self._folder / f"step-{step:08d}"
        part = target.with_name(target.name + ".part")
        if self._group.first:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
        self._group.wait()
        model, moments = get_state_dict(objective, optimiser)
        distributed_checkpoint.save(
            {"model": model, "optimiser": moments}, checkpoint_id=part, no_dist=self._group.count == 1
        )
        self._group.wait()
        if self._group.first:
            (part / STATE).write_text(json.dumps({**state, "step": step}), encoding="utf-8")
            shutil.rmtree(target, ignore_errors=True)
            part.rename(target)
            for old in self.found()[: -self._keep]:
                shutil.rmtree(old)
        self._group.wait()
        return target

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
        model, moments = get_state_dict(objective, optimiser)
        try:
            distributed_checkpoint.load(
                {"model": model, "optimiser": moments}, checkpoint_id=path, no_dist=self._group.count == 1
            )
        except (KeyError, ValueError, RuntimeError, distributed_checkpoint.api.CheckpointException) as error:
            raise ParameterError(
                f"{path} cannot be continued", str(error)[:300], "continue with the configuration that it was made with"
            ) from error
        set_state_dict(objective, optimiser, model_state_dict=model, optim_state_dict=moments)
        return dict(json.loads((path / STATE).read_text("utf-8")))
