"""A staged encoder as one session: a graph per input, run date by date, and a join over dates and inputs.

An input that is not given costs nothing: its graph is not even opened. The join runs only where one of its features is
wanted, and then sees every date of every input as an entry with its day of the year and its validity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from backend.manifest.package import InputSlot, Package
from backend.protocol.errors import PackageError
from backend.runtime.session import Session, cancelled

JOIN = "join"
Open = Callable[[str], Session]


class StagedSession:
    """See `Session`; takes (B, C, size, size) or (B, T, C, size, size) by slot name, gives features by name.

    Beside an image may be given, as the package names them: the days of its dates (B, T), where each date has data
    (B, T) or (B, T, s, s), and which bands are there (B, C); without them no date has a day, and everything is there.

    Args:
        package: a staged encoder.
        open_stage: opens the session of a slot, or of "join"; called when the stage is needed first.
        batch: most images per call of a slot's graph; may be lowered when memory runs out.
    """

    def __init__(self, package: Package, open_stage: Open, choice: tuple[str, str, str], batch: int) -> None:
        self.runtime, self.precision, self.device = choice
        self.inputs = tuple(slot.name for slot in package.inputs)
        self.outputs = tuple(feature.name for feature in package.features)
        self.batch = batch
        self._package, self._open_stage = package, open_stage
        self._sessions: dict[str, Session] = {}
        self._stopped = False

    def run(
        self, feeds: Mapping[str, Any], wanted: Mapping[str, str] | None = None, on_device: bool = False
    ) -> dict[str, Any]:
        """Computes the wanted features, by default all that the given inputs allow; see `Session.run`."""
        given = [slot for slot in self._package.inputs if slot.name in feeds]
        if not given:
            raise PackageError(f"no input of {self._package.reference} is given")
        known = {slot.name for slot in given} | {""}
        names = wanted if wanted is not None else [f.name for f in self._package.features if f.slot in known]
        features = [self._package.feature(name) for name in names]
        for feature in features:
            if feature.slot not in known:
                raise PackageError(f'"{feature.name}" is made of the input {feature.slot}', "it is not given")
        joined = [feature.name for feature in features if not feature.slot]
        direct = {feature.slot for feature in features}
        found: dict[str, Any] = {}
        entries: list[Any] = []
        for slot in given:
            if joined or slot.name in direct:
                by_date = self._encode(slot, feeds)
                entries.append(by_date[self._joined_feature(slot)])
                valid = feeds.get(slot.valid_input) if slot.valid_input else None
                found.update({name: over_dates(value, valid) for name, value in by_date.items()})
        if joined:
            found.update(self._join(given, entries, feeds, joined))
        return {name: found[name] if on_device else _on_host(found[name]) for name in names}

    def _joined_feature(self, slot: InputSlot) -> str:
        return next(name for name in self._package.joins if self._package.feature(name).slot == slot.name)

    def _session(self, stage: str) -> Session:
        if self._stopped:
            raise cancelled()
        if stage not in self._sessions:
            self._sessions[stage] = self._open_stage(stage)
            if self._stopped:  # while it was opened, so that `interrupt` did not see it
                raise cancelled()
        return self._sessions[stage]

    def _encode(self, slot: InputSlot, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """The slot's features by name, (B, T, …)."""
        image = feeds[slot.name]
        count, dates = image.shape[0], image.shape[1] if slot.temporal else 1
        images = {slot.name: image.reshape(-1, *image.shape[-3:])}
        if slot.bands_input:
            there = feeds.get(slot.bands_input)
            there = np.ones((count, len(slot.bands)), np.float32) if there is None else there
            images[slot.bands_input] = np.repeat(there, dates, axis=0)
        session = self._session(slot.name)
        parts = [
            session.run({name: array[i : i + self.batch] for name, array in images.items()}, on_device=True)
            for i in range(0, count * dates, self.batch)
        ]
        found = {}
        for name in parts[0]:
            values = joined_parts([part[name] for part in parts], axis=0)
            found[name] = values.reshape(count, dates, *values.shape[1:])
        return found

    def _join(
        self, given: Sequence[InputSlot], entries: list[Any], feeds: Mapping[str, Any], names: Sequence[str]
    ) -> dict[str, Any]:
        days, valid = [], []
        for slot, entry in zip(given, entries, strict=True):
            shape = entry.shape[:2]
            day = feeds.get(slot.days_input) if slot.days_input else None
            there = feeds.get(slot.valid_input) if slot.valid_input else None
            days.append(np.zeros(shape, np.float32) if day is None else day)
            valid.append(_everywhere(there, (*shape, *entry.shape[-2:])))
        stacked = {
            "entries": joined_parts(entries, axis=1),
            "days": np.concatenate(days, axis=1),
            "valid": np.concatenate(valid, axis=1),
        }
        return self._session(JOIN).run(stacked, dict.fromkeys(names, "identity"), on_device=True)

    def interrupt(self) -> None:
        """Makes the present and every later run raise `Cancelled`; from any thread."""
        self._stopped = True
        for session in list(self._sessions.values()):
            session.interrupt()

    def close(self) -> None:
        """Releases memory."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
        self._open_stage = _closed  # the stages' own opener holds the network that they share


def _everywhere(valid: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """Validity (B, T, s, s) from what was given: nothing, a number per date, or one per position."""
    if valid is None:
        return np.ones(shape, np.float32)
    return np.broadcast_to(valid[..., None, None], shape) if valid.ndim == 2 else valid


def _closed(stage: str) -> Session:
    raise PackageError(f"the stage {stage} is closed")


def over_dates(values: Any, valid: np.ndarray | None = None) -> Any:
    """A single input's feature without its date axis: the mean over the dates that have data (of one date: itself).

    Args:
        values: (B, T, C) or (B, T, C, H, W), array or tensor.
        valid: 1 where a date has data, else 0, (B, T) or (B, T, s, s); None: everywhere. Without any, all dates count.
    """
    if values.shape[1] == 1:
        return values[:, 0]
    if valid is None or valid.all():
        return values.mean(1)
    shares = _shares(valid, values.shape[3:])
    if not isinstance(values, np.ndarray):
        shares = values.new_tensor(shares)
    return (values * shares[:, :, None]).sum(1)


def _shares(valid: np.ndarray, sides: tuple[int, ...]) -> np.ndarray:
    """Weights of the dates, (B, T, *sides), that sum to 1; `sides` is empty for vectors."""
    if not sides:
        weights = valid.reshape(*valid.shape[:2], -1).mean(axis=2)
    elif valid.ndim == 2:
        weights = np.broadcast_to(valid[:, :, None, None], (*valid.shape, *sides))
    else:  # the nearest of the s x s positions
        rows, cols = (np.arange(side) * many // side for side, many in zip(sides, valid.shape[2:], strict=True))
        weights = valid[..., rows[:, None], cols]
    weights = np.where(weights.any(axis=1, keepdims=True), weights, 1.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def joined_parts(parts: Sequence[Any], axis: int) -> Any:
    """Arrays, or tensors of torch, joined along an axis."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts, axis=axis)
    import torch

    return torch.cat(tuple(parts), dim=axis)


def _on_host(values: Any) -> np.ndarray:
    return values if isinstance(values, np.ndarray) else np.asarray(values.float().cpu().numpy())
