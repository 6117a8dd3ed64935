"""From the rasters that a user named to the inputs that a model takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from backend.geo.grid import Grid
from backend.geo.source import fingerprint
from backend.manifest.package import InputSlot, Package, Step
from backend.manifest.steps import parameters
from backend.protocol.errors import InputError, PackageError, ParameterError
from backend.protocol.jobs import InputSpec
from backend.scene.normalise import Clip, Decibel, FromDecibel, Linear, Log1p, Operation, Square, fold
from backend.scene.strips import Feed
from backend.sensors.inspect import inspect
from backend.sensors.resolve import Conversion, ResolvedInput, resolve

OPTIONS = {"hr": "--hr", "ms": "--ms", "sar": "--sar", "raster": "--raster"}
MOMENTS = {"any": "", "before": " of the earlier date", "after": " of the later date"}
TITLES = {"hr": "high-resolution optical", "ms": "multispectral", "sar": "SAR", "raster": "other sensor"}


@dataclass(frozen=True)
class SlotInput:
    """A model input with the rasters that feed it.

    Attributes:
        slot: the input.
        specs: what the user said of each raster.
        resolved: its bands and how they are read.
        left_out: which rasters were left out and why, for people.
    """

    slot: InputSlot
    specs: tuple[InputSpec, ...]
    resolved: tuple[ResolvedInput, ...]
    left_out: tuple[str, ...] = ()

    @property
    def grid(self) -> Grid:
        """Grid of the finest raster."""
        return min((r.source.grid for r in self.resolved), key=lambda grid: grid.pixel_size_m())

    @property
    def present(self) -> tuple[bool, ...]:
        """For each band of the slot whether the rasters have it."""
        return self.resolved[0].present

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about dates and bands."""
        lacking = [band.name for band, there in zip(self.slot.bands, self.present, strict=True) if not there]
        bands = f"the {TITLES[self.slot.modality]} input lacks {', '.join(lacking)}; the model does without"
        return (*self.left_out, *((bands,) if lacking else ()))

    def keeping(self, indexes: Sequence[int], note: str = "") -> SlotInput:
        """The same input with these of its rasters, in this order, and a note that says what was left out."""
        return replace(
            self,
            specs=tuple(self.specs[index] for index in indexes),
            resolved=tuple(self.resolved[index] for index in indexes),
            left_out=(*self.left_out, note) if note else self.left_out,
        )

    def feed(self, window: int, cells: int = 0) -> Feed:
        """What the pipeline reads.

        Args:
            window: pixels of the scene along a window's side.
            cells: places along a window's side of which a staged model wants to know whether they have data; 0: it does
                not ask.
        """
        slot, there = self.slot, self.present
        steps = [_of_bands(step, there) for step in slot.steps]
        return Feed(
            slot.name,
            tuple(item.source for item in self.resolved),
            tuple(operations(item.conversions, steps) for item in self.resolved),
            slot.fill,
            slot.temporal,
            slot.required,
            Fraction(slot.size, window),
            None if all(there) else tuple(np.flatnonzero(there).tolist()),
            len(there),
            slot.valid_input if cells else None,
            slot.size // cells if cells else 1,
            "" if slot.moment == "any" else slot.moment,
        )

    def describe(self) -> dict:
        """JSON values that identify the input and how it is read."""
        return {
            "slot": self.slot.name,
            "rasters": [
                {
                    "files": fingerprint(item.source),
                    "bands": [list(layer.indexes) for layer in item.source.layers],
                    "nodata": [layer.nodata for layer in item.source.layers],
                    "sensor": item.sensor,
                    "date": item.date,
                    "conversion": [[c.offset, c.scale, c.log] for c in item.conversions],
                }
                for item in self.resolved
            ],
        }


def match_inputs(
    specs: Sequence[InputSpec], packages: Sequence[Package], slots: Sequence[InputSlot]
) -> tuple[SlotInput, ...]:
    """Give every raster to the model input that takes it.

    Raises:
        InputError: a raster that no input takes, a required input without a raster, a number of rasters that the
            input cannot have, or whatever `resolve` says about a raster.
    """
    name = packages[0].reference
    groups: dict[str, list[InputSpec]] = {slot.name: [] for slot in slots}
    for spec in specs:
        groups[_taker(spec, slots, name).name].append(spec)
    found = []
    for slot in slots:
        given = groups[slot.name]
        _check_count(slot, len(given), name)
        if not given:
            continue
        resolved = tuple(_resolved(spec, slot) for spec in given)
        for spec, item in zip(given, resolved, strict=True):
            _check_sensor(slot, item, spec, name)
        found.append(SlotInput(slot, tuple(given), resolved))
    return tuple(found)


def _taker(spec: InputSpec, slots: Sequence[InputSlot], name: str) -> InputSlot:
    """Of several inputs of one modality the one that is made for the raster's sensor; the first where none is.

    Raises:
        PackageError, ParameterError: there is none, or none that tells before from after.
    """
    takers = [slot for slot in slots if slot.modality == spec.modality]
    if not takers:
        modalities = dict.fromkeys(slot.modality for slot in slots)
        wanted = ", ".join(f"{OPTIONS[modality]} ({TITLES[modality]})" for modality in modalities)
        raise PackageError(
            f"{name} takes no {TITLES[spec.modality]} input ({OPTIONS[spec.modality]})",
            f"it takes {wanted}",
            "leave that input out or choose another model",
        )
    if spec.role and takers[0].moment == "any":
        raise ParameterError(
            f'::role={spec.role} of "{spec.paths[0]}" has no meaning here',
            f"{name} takes no before and after",
            "leave it out",
        )
    takers = [slot for slot in takers if slot.moment in ("any", spec.role)]
    if not takers:
        raise ParameterError(
            f'it is not said whether "{spec.paths[0]}" is of the earlier or of the later date',
            f"{name} compares two dates",
            f"write --before or --after in front of {OPTIONS[spec.modality]}, or ::role=before behind the path",
        )
    if len(takers) == 1:
        return takers[0]
    sensor = spec.sensor or inspect(spec.paths, spec).sensor
    return next((slot for slot in takers if sensor in slot.sensors), takers[0])


def _resolved(spec: InputSpec, slot: InputSlot) -> ResolvedInput:
    """The raster's bands for a slot; of several rasters, an error says which one is meant."""
    try:
        return resolve(spec, slot.bands, slot.unit, partial=slot.bands_input is not None)
    except InputError as error:
        if f'"{spec.paths[0]}' in error.sentence():
            raise
        why = f"{error.what}: {error.why}" if error.why else error.what
        wrong = isinstance(error, ParameterError)
        what = f'an option of "{spec.paths[0]}" cannot be used' if wrong else f'"{spec.paths[0]}" does not fit'
        raise type(error)(what, why, error.fix) from error


def _check_count(slot: InputSlot, count: int, name: str) -> None:
    option, fewest, most = OPTIONS[slot.modality], slot.dates[0], slot.dates[1]
    if count == 0 and not slot.required:
        return
    if count == 0:
        title = f"{TITLES[slot.modality]} input{MOMENTS[slot.moment]}"
        raise InputError(f"{name} needs a {title}", "none was given", f"add {option} PATH")
    if count < fewest or (count > most and not slot.temporal):
        wanted = f"{fewest} to {most} dates" if fewest < most else "one date" if most == 1 else f"{most} dates"
        given = "one was" if count == 1 else f"{count} were"
        times = "once" if wanted == "one date" else "once for every date"
        raise InputError(
            f"{name} takes {wanted} of its {TITLES[slot.modality]} input{MOMENTS[slot.moment]}",
            f"{given} given",
            f'give {option} {times}; tiles of one mosaic belong into one option, as in "a.tif|b.tif"',
        )


def _check_sensor(slot: InputSlot, item: ResolvedInput, spec: InputSpec, name: str) -> None:
    if slot.sensors and item.sensor is not None and item.sensor not in slot.sensors:
        raise PackageError(
            f'{name} was not made for {item.sensor} ("{spec.paths[0]}")',
            f"it takes {', '.join(slot.sensors)}",
            "choose another model, or name the sensor with ::sensor=NAME if it was recognised wrongly",
        )


def operations(conversions: Sequence[Conversion], steps: Sequence[Step]) -> tuple[Operation, ...]:
    """The chain from stored numbers over physical values to the model's input.

    Raises:
        ParameterError: when bands of one raster would need different kinds of logarithm.
    """
    logs = {conversion.log for conversion in conversions}
    if len(logs) > 1:
        raise ParameterError(
            "the bands of one raster have different units",
            f"they would be converted by {sorted(logs)}",
            "give them as separate inputs",
        )
    chain: list[Operation] = [
        Linear(tuple(c.scale for c in conversions), tuple(c.offset * c.scale for c in conversions)),
        *_logarithm(logs.pop()),
        *(_operation(step) for step in steps),
    ]
    return fold(chain)


def _logarithm(name: str) -> tuple[Operation, ...]:
    chains: dict[str, tuple[Operation, ...]] = {
        "": (),
        "to_db": (Decibel(),),
        "to_linear": (FromDecibel(),),
        "amplitude_to_db": (Square(), Decibel()),
        "amplitude_to_linear": (Square(),),
    }
    return chains[name]


def _operation(step: Step) -> Operation:
    match step.op:
        case "clip":
            return Clip(step.minimum, step.maximum)
        case "rescale":
            spans = _pairs(step.minimum, step.maximum)
            return Linear(
                tuple(1 / (high - low) for low, high in spans), tuple(-low / (high - low) for low, high in spans)
            )
        case "standardise":
            moments = _pairs(step.mean, step.std)
            return Linear(tuple(1 / std for _, std in moments), tuple(-mean / std for mean, std in moments))
        case "scale":
            return Linear(step.factor, step.offset)
        case "log1p":
            return Log1p()
        case "db":
            return Decibel(step.floor)
    raise PackageError(f'the step "{step.op}" is not known')


def _of_bands(step: Step, there: Sequence[bool]) -> Step:
    """The step for the bands that are there."""
    chosen: dict[str, Any] = {
        name: tuple(value for value, used in zip(values, there, strict=True) if used)
        for name, values in parameters(step).items()
        if len(values) > 1
    }
    return replace(step, **chosen)


def _pairs(first: Sequence[float], second: Sequence[float]) -> list[tuple[float, float]]:
    """Values side by side; a single one serves all bands."""
    length = max(len(first), len(second))
    return list(zip(*(tuple(v) * length if len(v) == 1 else tuple(v) for v in (first, second)), strict=True))
