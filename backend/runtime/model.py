"""A model that runs: one pass through an encoder and its heads, or through a bundle."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from backend.manifest.package import Feature, InputSlot, Output, Package, Tiling
from backend.protocol.errors import DeviceError, PackageError
from backend.protocol.jobs import ComputeSpec
from backend.runtime.assembly import Assembly, assemble
from backend.runtime.choice import Choice, open_session
from backend.runtime.precision import choose
from backend.runtime.session import Session
from backend.runtime.staged_session import StagedSession
from backend.runtime.two_dates import TwoDates, features_of_both, outputs_of, slots_of_both


@dataclass(frozen=True)
class Wish:
    """What is asked of packages.

    Attributes:
        slots: names of the inputs that will be given; None for all. Only a staged encoder leaves the others out.
        features: the encoder's features that are results, for packages without heads.
        both_dates: whether the model runs on two dates, see `backend.runtime.two_dates`.
    """

    slots: frozenset[str] | None = None
    features: tuple[str, ...] = ()
    both_dates: bool = False

    def inputs(self, assembly: Assembly) -> tuple[InputSlot, ...]:
        """The inputs that will be fed."""
        slots = slots_of_both(assembly.inputs) if self.both_dates else assembly.inputs
        if self.slots is None or not assembly.base.staged:
            return slots
        return tuple(slot for slot in slots if slot.name in self.slots)

    def given(self, assembly: Assembly) -> tuple[Feature, ...]:
        """The features that are results."""
        features = tuple(assembly.base.feature(name) for name in self.features)
        return features_of_both(features) if self.both_dates else features


EVERYTHING = Wish()


class Model:
    """Packages with open sessions; made by `open_model`. One thread runs it; any thread may interrupt it.

    Attributes:
        packages: the encoder and its heads, or the bundle.
        inputs: what `run` takes.
        tiling: how a scene is cut for it.
        outputs: one per array that `run` gives.
        features: the encoder's features that `run` gives after these.
        choice: how it is computed; `batch` shrinks when memory runs out.
    """

    def __init__(self, assembly: Assembly, choice: Choice, wish: Wish = EVERYTHING) -> None:
        self.packages: tuple[Package, ...] = assembly.packages
        self._staged = assembly.base.staged
        self.inputs: tuple[InputSlot, ...] = wish.inputs(assembly)
        self.tiling: Tiling = assembly.tiling
        self._outputs = [outputs_of(package, wish.both_dates) for package in assembly.producers]
        self.outputs: tuple[Output, ...] = tuple(output for outputs in self._outputs for output in outputs)
        self.features: tuple[Feature, ...] = wish.given(assembly)
        self.choice = choice
        self._halved = False
        base = open_session(assembly.base, choice)
        self._stages = base if isinstance(base, StagedSession) else None
        self._base: Session = TwoDates(base) if wish.both_dates else base
        self._heads: list[Session] = []
        for head in assembly.heads:
            session = open_session(head, choice)
            self._heads.append(TwoDates(session) if wish.both_dates and head.task != "change" else session)

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Class scores of a batch of windows.

        Args:
            feeds: by slot name, (B, C, size, size) or (B, T, C, size, size) float32, normalised; B may be any number,
                but the speed is best at `choice.batch`. Slots that are not required may be absent; `days_input` and
                `valid_input` of a slot are feeds too.

        Returns:
            per output, (B, classes, window, window) float32, activation applied; then per feature, (B, channels, size,
            size) float32.

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
        """Adds what optional slots that were not given hold: the fill value, no valid date, no band."""
        absent = [slot for slot in self.inputs if slot.name not in feeds and not slot.required]
        if self._staged or not absent:  # a stage that is not given is left out
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
            if slot.bands_input is not None:
                added[slot.bands_input] = np.zeros((count, len(slot.bands)), dtype=np.float32)
        return {**feeds, **added}

    def _pass(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        wanted = [{output.name: output.activation for output in outputs} for outputs in self._outputs]
        if self._heads:
            needed = {name: "identity" for head in self._heads for name in head.inputs}
            features = self._base.run(feeds, needed, on_device=True)
            found = []
            for head, request in zip(self._heads, wanted, strict=True):
                given = head.run({name: features[name] for name in head.inputs}, request)
                found += [given[name] for name in request]
        else:
            names = {**wanted[0], **{feature.name: "identity" for feature in self.features}}
            given = self._base.run(feeds, names or None)
            found = [given[name] for name in names]
        self._check(found, next(iter(feeds.values())).shape[0])
        return found

    def _check(self, found: Sequence[np.ndarray], count: int) -> None:
        promised = [(output.name, len(output.classes), "classes") for output in self.outputs]
        promised += [(feature.name, feature.channels, "channels") for feature in self.features]
        for (name, channels, noun), array in zip(promised, found, strict=True):
            if array.shape[:2] != (count, channels):
                raise PackageError(
                    f"the output {name} has the shape {array.shape}",
                    f"its package promises {channels} {noun} for each of {count} windows",
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
        if self._stages is not None:  # the dates of few windows may still be many images
            self._stages.batch = self.choice.batch

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


def open_model(
    packages: Sequence[Package],
    compute: ComputeSpec | None = None,
    choice: Choice | None = None,
    wish: Wish = EVERYTHING,
) -> Model:
    """Opens packages that share one pass.

    Args:
        packages: an encoder with heads, heads alone (their encoder must be installed), or one bundle.
        compute: the user's wishes; "auto" takes the fastest variant that is accurate on this machine.
        choice: how an earlier run computed; taken exactly, so that a resumed run goes on the same way.
        wish: which inputs are given, and which features of the encoder are results.

    Raises:
        PackageError: the packages do not fit together, or the encoder is missing.
        DeviceError: the device or the runtime is not there.
        ParameterError: no variant is as asked for.
    """
    assembly = assemble(packages)
    if choice is None:
        about = json.dumps([wish.slots and sorted(wish.slots), wish.features, wish.both_dates])
        choice = choose(assembly, compute or ComputeSpec(), lambda found: _timed(assembly, found, wish), about)
    return Model(assembly, choice, wish)


def _timed(assembly: Assembly, choice: Choice, wish: Wish) -> float:
    with Model(assembly, choice, wish) as model:
        return measure(model)


def blank_feeds(
    inputs: Sequence[InputSlot], count: int, dates: Mapping[str, int] | None = None
) -> dict[str, np.ndarray]:
    """Feeds of the right shapes with repeatable noise, for measurements; every date is valid.

    Args:
        dates: of slots with several dates, by slot name; else the fewest that the slot takes.
    """
    generator = np.random.default_rng(0)
    feeds: dict[str, np.ndarray] = {}
    for slot in inputs:
        given = (dates or {}).get(slot.name, slot.dates[0])
        shape = (count, *((given,) if slot.temporal else ()), len(slot.bands), slot.size, slot.size)
        feeds[slot.name] = generator.random(shape, dtype=np.float32)
        for name in (slot.days_input, slot.valid_input):
            if name is not None:
                feeds[name] = np.ones((count, given), dtype=np.float32)
        if slot.bands_input is not None:
            feeds[slot.bands_input] = np.ones((count, len(slot.bands)), dtype=np.float32)
    return feeds


def measure(model: Model, seconds: float = 0.3, dates: Mapping[str, int] | None = None) -> float:
    """Seconds per window: the best of at least two batches, for about `seconds`, after one that warms up.

    Args:
        dates: see `blank_feeds`.
    """
    feeds = blank_feeds(model.inputs, model.choice.batch, dates)
    model.run(feeds)
    taken: list[float] = []
    while len(taken) < 2 or sum(taken) < seconds:
        start = time.perf_counter()
        model.run(feeds)
        taken.append(time.perf_counter() - start)
    return min(taken) / next(iter(feeds.values())).shape[0]
