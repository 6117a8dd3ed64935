"""A model that runs: one pass through an encoder and its heads, or through a bundle."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from backend.manifest.package import InputSlot, Output, Package, Tiling
from backend.protocol.errors import DeviceError, PackageError
from backend.protocol.jobs import ComputeSpec
from backend.runtime.assembly import Assembly, assemble
from backend.runtime.choice import Choice, open_session
from backend.runtime.precision import choose
from backend.runtime.session import Session


class Model:
    """Packages with open sessions; made by `open_model`. One thread runs it; any thread may interrupt it.

    Attributes:
        packages: the encoder and its heads, or the bundle.
        inputs: what `run` takes.
        tiling: how a scene is cut for it.
        outputs: one per array that `run` gives.
        choice: how it is computed; `batch` shrinks when memory runs out.
    """

    def __init__(self, assembly: Assembly, choice: Choice) -> None:
        self.packages: tuple[Package, ...] = assembly.packages
        self.inputs: tuple[InputSlot, ...] = assembly.inputs
        self.tiling: Tiling = assembly.tiling
        self.outputs: tuple[Output, ...] = assembly.outputs
        self.choice = choice
        self._halved = False
        self._base = open_session(assembly.base, choice)
        self._heads: list[Session] = [open_session(head, choice) for head in assembly.heads]

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Class scores of a batch of windows.

        Args:
            feeds: by slot name, (B, C, size, size) or (B, T, C, size, size) float32, normalised; B may be any number,
                but the speed is best at `choice.batch`. Slots that are not required may be absent; `days_input` and
                `valid_input` of a slot are feeds too.

        Returns:
            per output, (B, classes, window, window) float32, activation applied.

        Raises:
            Cancelled: `interrupt` was called.
            DeviceError: memory does not suffice, even with half the batch.
            PackageError: the graph does not take the feeds or gives something else than its package says.
        """
        feeds = self._complete(feeds)
        count = next(iter(feeds.values())).shape[0]
        parts: list[list[np.ndarray]] = []
        done = 0
        while done < count:
            batch = {name: array[done : done + self.choice.batch] for name, array in feeds.items()}
            try:
                parts.append(self._pass(batch))
            except MemoryError as error:
                self._halve(error)
                continue
            done += next(iter(batch.values())).shape[0]
        return parts[0] if len(parts) == 1 else [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _complete(self, feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Adds what optional slots that were not given hold: the fill value, and no valid date."""
        absent = [slot for slot in self.inputs if slot.name not in feeds and not slot.required]
        if not absent:
            return feeds
        count = next(iter(feeds.values())).shape[0]
        added: dict[str, np.ndarray] = {}
        for slot in absent:
            dates = slot.dates[0]
            shape = (count, *((dates,) if slot.temporal else ()), len(slot.bands), slot.size, slot.size)
            added[slot.name] = np.full(shape, slot.fill, dtype=np.float32)
            for name in (slot.days_input, slot.valid_input):
                if name is not None:
                    added[name] = np.zeros((count, dates), dtype=np.float32)
        return {**feeds, **added}

    def _pass(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        wanted = [{output.name: output.activation} for output in self.outputs]
        if self._heads:
            features = self._base.run(feeds, on_device=True)
            scores = [
                head.run({name: features[name] for name in head.inputs}, request)[output.name]
                for head, request, output in zip(self._heads, wanted, self.outputs, strict=True)
            ]
        else:
            found = self._base.run(feeds, wanted[0] if wanted else None)
            scores = [found[output.name] for output in self.outputs]
        self._check(scores, next(iter(feeds.values())).shape[0])
        return scores

    def _check(self, scores: Sequence[np.ndarray], count: int) -> None:
        for output, array in zip(self.outputs, scores, strict=True):
            if array.shape[:2] != (count, len(output.classes)):
                raise PackageError(
                    f"the output {output.name} has the shape {array.shape}",
                    f"its package promises {len(output.classes)} classes for each of {count} windows",
                )

    def _halve(self, error: MemoryError) -> None:
        if self._halved or self.choice.batch == 1:
            raise DeviceError(
                f"the memory of {self.choice.device} does not suffice for {self.packages[0].reference}",
                f"not even with {self.choice.batch} windows at a time",
                "close other programs, or choose the device cpu, the precision int8 or a smaller model",
            ) from error
        self._halved = True
        self.choice = replace(self.choice, batch=self.choice.batch // 2)

    def interrupt(self) -> None:
        """Makes the present and every later `run` raise `Cancelled`, within a second; from any thread."""
        for session in (self._base, *self._heads):
            session.interrupt()

    def close(self) -> None:
        """Releases memory."""
        for session in (self._base, *self._heads):
            session.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_model(packages: Sequence[Package], compute: ComputeSpec | None = None, choice: Choice | None = None) -> Model:
    """Opens packages that share one pass.

    Args:
        packages: an encoder with heads, heads alone (their encoder must be installed), or one bundle.
        compute: the user's wishes; "auto" takes the fastest variant that is accurate on this machine.
        choice: how an earlier run computed; taken exactly, so that a resumed run goes on the same way.

    Raises:
        PackageError: the packages do not fit together, or the encoder is missing.
        DeviceError: the device or the runtime is not there.
        ParameterError: no variant is as asked for.
    """
    assembly = assemble(packages)
    return Model(assembly, choice or choose(assembly, compute or ComputeSpec(), lambda found: _timed(assembly, found)))


def _timed(assembly: Assembly, choice: Choice) -> float:
    with Model(assembly, choice) as model:
        return measure(model)


def blank_feeds(inputs: Sequence[InputSlot], count: int) -> dict[str, np.ndarray]:
    """Feeds of the right shapes with repeatable noise, for measurements; every date is valid."""
    generator = np.random.default_rng(0)
    feeds: dict[str, np.ndarray] = {}
    for slot in inputs:
        shape = (count, *((slot.dates[0],) if slot.temporal else ()), len(slot.bands), slot.size, slot.size)
        feeds[slot.name] = generator.random(shape, dtype=np.float32)
        for name in (slot.days_input, slot.valid_input):
            if name is not None:
                feeds[name] = np.ones((count, slot.dates[0]), dtype=np.float32)
    return feeds


def measure(model: Model, seconds: float = 0.3) -> float:
    """Seconds per window: the best of at least two batches, for about `seconds`, after one that warms up."""
    feeds = blank_feeds(model.inputs, model.choice.batch)
    model.run(feeds)
    taken: list[float] = []
    while len(taken) < 2 or sum(taken) < seconds:
        start = time.perf_counter()
        model.run(feeds)
        taken.append(time.perf_counter() - start)
    return min(taken) / next(iter(feeds.values())).shape[0]
