"""What a run says: lines of JSON, TensorBoard, a progress line."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from backend.train.objectives.objective import Losses
from backend.train.parallel.processes import Processes


class RunLog:
    """The log of a run folder: `log.jsonl` and `tensorboard/`; a context manager.

    Args:
        folder: the run folder.
        group: the processes; values are means over them, counts are sums, the first writes.
        steps: of the whole run.
    """

    def __init__(self, folder: Path, group: Processes, steps: int) -> None:
        self._folder, self._group, self._steps = folder, group, steps
        self._losses: dict[str, float] = defaultdict(float)
        self._counts: Counter[str] = Counter()
        self._begun = time.perf_counter()
        self._waited, self._parts, self._since = 0.0, 0.0, 0
        self.last: dict[str, Any] = {}

    def __enter__(self) -> RunLog:
        if self._group.first:
            from torch.utils.tensorboard import SummaryWriter

            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = (self._folder / "log.jsonl").open("a", encoding="utf-8")
            self._board = SummaryWriter(str(self._folder / "tensorboard"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._group.first:
            self._file.close()
            self._board.close()

    def add(self, losses: Losses, parts: int) -> None:
        """Losses of one of the parts of a batch."""
        self._losses["loss"] += float(losses.total.detach()) / parts
        for name, value in losses.parts.items():
            self._losses[name] += float(value.detach()) / parts

    def waited(self, seconds: float) -> None:
        """Time in which the device had nothing to do but wait for data."""
        self._waited += seconds

    def step(self, step: int, values: Mapping[str, float], counts: Counter[str], every: int) -> None:
        """Close a step; every so many a line is written, with means over the steps since the last one."""
        self._counts.update(counts)
        self._since += 1
        if not every or ((step + 1) % every and step + 1 != self._steps):
            return
        taken = max(1e-9, time.perf_counter() - self._begun)
        names = sorted(self._losses)
        means = self._group.mean(torch.tensor([self._losses[name] for name in names], dtype=torch.float64))
        kinds = sorted(self._counts)
        sums = self._group.sum(torch.tensor([self._counts[kind] for kind in kinds], dtype=torch.float64))
        self.last = {
            "step": step + 1,
            **{name: value / self._since for name, value in zip(names, means.tolist(), strict=True)},
            **values,
            **{kind: int(value) for kind, value in zip(kinds, sums.tolist(), strict=True)},
            "samples_per_s": round(float(sums[kinds.index("samples")]) / taken, 3) if "samples" in kinds else None,
            "data_wait_share": round(self._waited / taken, 4),
            "peak_memory_bytes": peak_memory(self._group.device),
        }
        self._write()
        self._losses.clear()
        self._counts.clear()
        self._begun, self._waited, self._since = time.perf_counter(), 0.0, 0

    def _write(self) -> None:
        if not self._group.first:
            return
        self._file.write(json.dumps(self.last) + "\n")
        self._file.flush()
        for name, value in self.last.items():
            if isinstance(value, (int, float)):
                self._board.add_scalar(name, value, self.last["step"])
        text = f"step {self.last['step']}/{self._steps}, loss {self.last['loss']:.4f}"
        sys.stderr.write(f"\r{text}, {self.last['samples_per_s']} samples/s" + " " * 10)
        sys.stderr.flush()


def peak_memory(device: torch.device) -> int:
    """The most bytes that were in use: of the graphics processor, or of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
