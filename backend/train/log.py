"""What a run says: lines of JSON, TensorBoard, a line on the screen, a learning curve."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from backend.command_line.screen import Screen
from backend.protocol.messages import Progress as Shown
from backend.train import pictures
from backend.train.objectives.objective import Losses
from backend.train.parallel.processes import Processes

LINES = "log.jsonl"
CURVE = "learning-curve.png"


class RunLog:
    """The log of a run folder: `log.jsonl`, `tensorboard/` and `learning-curve.png`; a context manager.

    Args:
        folder: the run folder.
        group: the processes; values are means over them, counts are sums, the first writes.
        first: step that the run goes on with; what an interrupted run said of later ones is dropped.
        steps: of the whole run.
    """

    def __init__(self, folder: Path, group: Processes, first: int, steps: int) -> None:
        self._folder, self._group, self._first, self._steps = folder, group, first, steps
        self._losses: dict[str, Tensor | float] = defaultdict(float)
        self._counts: Counter[str] = Counter()
        self._waited, self._good = 0.0, 0
        self._begun = time.perf_counter()
        self._screen = Screen()
        self.last: dict[str, Any] = {}

    def __enter__(self) -> RunLog:
        if self._group.first:
            from torch.utils.tensorboard import SummaryWriter

            self._folder.mkdir(parents=True, exist_ok=True)
            lines = self._folder / LINES
            kept = [entry for entry in entries(self._folder) if entry["step"] <= self._first]
            lines.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")
            self._file = lines.open("a", encoding="utf-8")
            self._board = SummaryWriter(str(self._folder / "tensorboard"), purge_step=self._first + 1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._group.first:
            self._file.close()
            self._board.close()

    def waited(self, seconds: float) -> None:
        """Time in which the device had nothing to do but wait for data."""
        self._waited += seconds

    def step(self, step: int, parts: Sequence[Losses], values: Mapping[str, float | None], write: bool) -> None:
        """Close a step.

        Args:
            step: its number, from 0.
            parts: losses of the parts of this process's batch; none where the step was left out.
            values: what else is said, the same in all processes.
            write: whether a line is written, with means over the steps since the last one and sums of what was seen.
        """
        self._good += bool(parts)
        for losses in parts:  # no number is read here, which would make a graphics processor wait
            for name, value in {"loss": losses.total, **losses.parts}.items():
                self._losses[name] = self._losses[name] + value.detach() / len(parts)
            self._counts.update(losses.counts)
        if write:
            self._close(step + 1, values)

    def curve(self) -> None:
        """Draw the learning curve of what was logged so far."""
        if self._group.first:
            series: dict[str, list[tuple[float, float]]] = defaultdict(list)
            for entry in entries(self._folder):
                for name, value in {"loss": entry["loss"], **entry["losses"]}.items():
                    if value is not None:
                        series[name].append((entry["step"], value))
            if series:
                pictures.save(self._folder / CURVE, pictures.curves(series, "step", "loss"))

    def picture(self, step: int, name: str, image: Any) -> None:
        """An example picture, H x W x 3 uint8, as `pictures/step-00001000-NAME.png` and in TensorBoard."""
        if self._group.first:
            pictures.save(self._folder / "pictures" / f"step-{step:08d}-{name}.png", image)
            self._board.add_image(name, image, step, dataformats="HWC")

    def _close(self, done: int, values: Mapping[str, float | None]) -> None:
        taken = max(1e-9, time.perf_counter() - self._begun)
        means = {name: value / max(1, self._good) for name, value in self._everywhere(self._losses).items()}
        counts = {name: round(value * self._group.count) for name, value in self._everywhere(self._counts).items()}
        self.last = {
            "step": done,
            "loss": means.pop("loss", None),
            "losses": means,
            "counts": counts,
            **values,
            "samples_per_s": round(counts.get("samples", 0) / taken, 3),
            "data_wait_share": round(self._waited / taken, 4),
            "peak_memory_bytes": peak_memory(self._group.device),
        }
        self._write()
        self._losses.clear()
        self._counts.clear()
        self._begun, self._waited, self._good = time.perf_counter(), 0.0, 0

    def _everywhere(self, found: Mapping[str, Tensor | float]) -> dict[str, float]:
        """Means over the processes by name; a process may lack a name that others have."""
        names = self._group.names(found)
        own = [torch.as_tensor(found.get(name, 0.0)).double().cpu() for name in names]
        means = self._group.mean(torch.stack(own).to(self._group.device)) if names else torch.zeros(0)
        return dict(zip(names, means.tolist(), strict=True))

    def _write(self) -> None:
        if not self._group.first:
            return
        self._file.write(json.dumps(self.last) + "\n")
        self._file.flush()
        step, loss, rate = self.last["step"], self.last["loss"], self.last["samples_per_s"]
        flat = {**self.last, **_under("losses", self.last), **_under("counts", self.last)}
        for name, value in flat.items():
            if isinstance(value, (int, float)) and name != "step":
                self._board.add_scalar(name, value, step)
        stage = "training" if loss is None else f"training, loss {loss:.4f}, {rate:.1f} samples/s"
        self._screen(Shown(stage, step / self._steps, step, self._steps))


def _under(part: str, line: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{part}/{name}": value for name, value in line[part].items()}


def entries(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run folder's log; a last line that was cut off when the run died is left out."""
    lines = folder / LINES
    found = lines.read_text("utf-8").splitlines(keepends=True) if lines.exists() else []
    return [json.loads(line) for line in found if line.endswith("}\n")]


def peak_memory(device: torch.device) -> int:
    """The most bytes that were in use: of the graphics processor, or of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
