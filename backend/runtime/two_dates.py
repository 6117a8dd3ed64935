"""One model on two dates of a place, as one pass: its inputs and outputs exist twice, as before_X and after_X."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from backend.manifest.package import Feature, InputSlot, Output, Package
from backend.runtime.session import Session

MOMENTS = ("before", "after")


def dated(moment: str, name: str) -> str:
    """The name of an input or output at a moment."""
    return f"{moment}_{name}"


def undated(name: str) -> str:
    """The name that `dated` was given."""
    return name.partition("_")[2]


def slots_of_both(slots: Sequence[InputSlot]) -> tuple[InputSlot, ...]:
    """The inputs of a model at both moments, the earlier one's first."""
    return tuple(_slot_of(moment, slot) for moment in MOMENTS for slot in slots)


def features_of_both(features: Sequence[Feature]) -> tuple[Feature, ...]:
    """Features at both moments: every feature before and after, then the next one."""
    return tuple(replace(f, name=dated(moment, f.name)) for f in features for moment in MOMENTS)


def outputs_of(package: Package, both: bool) -> tuple[Output, ...]:
    """The outputs of a package that tasks use.

    That is its first one; at both moments of what knows single dates; of semantic change the classes of both dates.

    Args:
        package: a head or a bundle; an encoder has none.
        both: whether two dates go in.
    """
    named = {output.name: output for output in package.outputs}
    if package.task == "change" and set(MOMENTS) <= set(named):
        return tuple(named[moment] for moment in MOMENTS)
    if package.output is None or not both or package.task == "change":
        return package.outputs[:1]
    return tuple(replace(package.output, name=dated(moment, package.output.name)) for moment in MOMENTS)


def _slot_of(moment: str, slot: InputSlot) -> InputSlot:
    def name(given: str | None) -> str | None:
        return None if given is None else dated(moment, given)

    return replace(
        slot,
        name=dated(moment, slot.name),
        moment=moment,
        days_input=name(slot.days_input),
        valid_input=name(slot.valid_input),
        bands_input=name(slot.bands_input),
    )


class TwoDates:
    """A session that runs another one twice; see `Session`. It takes and gives `before_X` and `after_X` for every X.

    Args:
        session: what runs at either moment; closed and interrupted with this one.
    """

    def __init__(self, session: Session) -> None:
        self.runtime, self.precision, self.device = session.runtime, session.precision, session.device
        self.inputs = tuple(dated(moment, name) for moment in MOMENTS for name in session.inputs)
        self.outputs = tuple(dated(moment, name) for moment in MOMENTS for name in session.outputs)
        self._session = session

    def run(
        self, feeds: Mapping[str, Any], wanted: Mapping[str, str] | None = None, on_device: bool = False
    ) -> dict[str, Any]:
        """Computes the outputs of both moments, one after the other; see `Session.run`."""
        found: dict[str, Any] = {}
        for moment in MOMENTS:
            asked = None if wanted is None else _at(moment, wanted)
            given = self._session.run(_at(moment, feeds), asked, on_device)
            found.update({dated(moment, name): values for name, values in given.items()})
        return found

    def interrupt(self) -> None:
        """Makes the present and every later run raise `Cancelled`; from any thread."""
        self._session.interrupt()

    def close(self) -> None:
        """Releases memory."""
        self._session.close()


def _at(moment: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """What belongs to a moment, by its name without it."""
    prefix = dated(moment, "")
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
