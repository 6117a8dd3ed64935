"""From an input as the user gave it to the bands that a model needs, in its order and unit."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from backend.geo.source import Layer, Source, source_from_layers
from backend.protocol.errors import InputError, ParameterError, SourceError
from backend.protocol.jobs import InputSpec
from backend.sensors.catalogue import UNITS, catalogue, normal
from backend.sensors.inspect import UNUSED, InputBand, Inspection, inspect
from backend.sensors.matching import Need, match, present, shared_bands
from backend.sensors.radiometry import Open, Radiometry, decide

# From a band's unit and transfer to a wanted unit, where the step is no mere factor.
_LOGS = {
    ("linear", "", "db"): "to_db",
    ("db", "", "linear"): "to_linear",
    ("linear", "amplitude", "db"): "amplitude_to_db",
    ("linear", "amplitude", "linear"): "amplitude_to_linear",
}


@dataclass(frozen=True)
class Conversion:
    """From stored numbers to the model's unit: `(number + offset) * scale`, then `log`.

    Attributes:
        offset: added to the stored number.
        scale: factor after the offset was added.
        log: "", "to_db" (10 log10), "to_linear" (its inverse), "amplitude_to_db" (20 log10), "amplitude_to_linear"
            (square).
    """

    offset: float = 0.0
    scale: float = 1.0
    log: str = ""


@dataclass(frozen=True)
class ResolvedInput:
    """One modality at one date, ready to be read.

    Attributes:
        source: where the bands are, in the order of the model.
        conversions: one per band of the source.
        sensor: catalogue name of the sensor, None when it is not known.
        date: acquisition date, ISO 8601, None when it is not known.
        warnings: what the user should know before trusting the result.
        present: for each band of the model whether the input has it; bands and conversions are of these alone.
    """

    source: Source
    conversions: tuple[Conversion, ...]
    sensor: str | None
    date: str | None
    warnings: tuple[str, ...] = ()
    present: tuple[bool, ...] = ()


def resolve(spec: InputSpec, needed: Sequence[Need], unit: str, partial: bool = False) -> ResolvedInput:
    """The bands that a model needs, in its order, with their conversion to `unit`.

    Args:
        spec: the input as the user gave it.
        needed: bands in the model's order.
        unit: "reflectance", "db", "linear", "radiance", "kelvin", "index" or "dn" (numbers as stored).
        partial: the model does with some of the bands; one at least must be there.

    Raises:
        ParameterError: an option of the input does not fit the file.
        SourceError: the file cannot be used.
        InputError: a band is missing, or metadata leaves something open that an option must decide.
    """
    inspection = inspect(spec.paths, spec)
    _check_unit(spec, inspection)
    if inspection.problems:
        problem = inspection.problems[0]
        if problem.names_file:
            raise SourceError(problem.text)
        raise SourceError(f'"{_name(spec)}" cannot be used', problem.text)
    if len(inspection.dates) > 1 and spec.date is None:
        dates = inspection.dates
        raise InputError(
            f'"{_name(spec)}" holds {len(dates)} dates',
            f"from {dates[0]} to {dates[-1]}",
            f"choose one, such as ::date={dates[0]}",
        )
    _check_band_names(spec, inspection, needed)
    found = present(needed, inspection.bands) if partial else (True,) * len(needed)
    if any(found):
        needed = [need for need, there in zip(needed, found, strict=True) if there]
    bands = match(needed, inspection.bands)
    meanings = [_meaning(need, band, spec, unit) for need, band in zip(needed, bands, strict=True)]
    _refuse_open(spec, meanings)
    known = [meaning for meaning in meanings if isinstance(meaning, Radiometry)]
    conversions = tuple(_convert(band, meaning, unit) for band, meaning in zip(bands, known, strict=True))
    sensors = [band.sensor.name for band in bands if band.sensor is not None]
    return ResolvedInput(
        source_from_layers(_layers(bands, spec.nodata if spec.nodata is not None else inspection.nodata)),
        conversions,
        sensors[0] if sensors else None,
        inspection.date,
        tuple(dict.fromkeys([*inspection.assumptions(known), *shared_bands(needed, bands)])),
        found,
    )


def _meaning(need: Need, band: InputBand, spec: InputSpec, unit: str) -> Radiometry | Open:
    """What the band's numbers mean for a model that wants `unit`."""
    if unit == "dn":
        # Models of pictures want 0 to 255; only models without wavelengths take any stored number.
        free = need.center_nm is None and need.polarisation is None
        if band.part.header.dtype == "uint8" or free or spec.unit == "dn" or spec.scale is not None:
            return Radiometry("dn", spec.offset or 0.0, spec.scale if spec.scale is not None else 1.0)
        return Open(
            f"the model was made for 8-bit pictures, this input has {band.part.header.dtype} numbers",
            "give ::unit=dn;scale= with the factor that maps them to 0 ... 255",
        )
    return band.radiometry if band.radiometry is not None else decide(band.facts, spec)


def _convert(band: InputBand, meaning: Radiometry, unit: str) -> Conversion:
    if meaning.unit == unit and not meaning.transfer:
        return Conversion(meaning.offset, meaning.scale)
    log = _LOGS.get((meaning.unit, meaning.transfer, unit))
    if log is None:
        raise InputError(
            f"the model needs {unit}",
            f"{band.words()} holds {_spoken(meaning)}",
            f"give ::unit={unit};scale= (and ::offset=, added before the scale) when the numbers can be converted",
        )
    return Conversion(meaning.offset, meaning.scale, log)


def _spoken(meaning: Radiometry) -> str:
    return "plain digital numbers without a calibration" if meaning.unit == "dn" else meaning.unit


def _refuse_open(spec: InputSpec, meanings: Sequence[Radiometry | Open]) -> None:
    for meaning in meanings:
        if isinstance(meaning, Open):
            raise InputError(f'"{_name(spec)}" leaves something open', meaning.question, meaning.answer)


def _layers(bands: Sequence[InputBand], nodata: float | None) -> list[Layer]:
    """Neighbouring bands of the same files are read together."""
    layers: list[Layer] = []
    for band in bands:
        last = layers[-1] if layers else None
        if last is not None and last.paths == band.part.paths:
            layers[-1] = Layer(last.paths, (*last.indexes, band.part.index), nodata)
        else:
            layers.append(Layer(band.part.paths, (band.part.index,), nodata))
    return layers


def _check_unit(spec: InputSpec, inspection: Inspection) -> None:
    rules = sorted({rule.name for band in inspection.bands if band.sensor is not None for rule in band.sensor.digital})
    if spec.unit is None or spec.unit in UNITS or spec.unit in rules:
        return
    known = [*UNITS, *rules]
    near = difflib.get_close_matches(spec.unit, known, n=3) or known
    raise ParameterError(f'"{spec.unit}" is no unit for this input', fix=f"write one of {', '.join(near)}")


def _check_band_names(spec: InputSpec, inspection: Inspection, needed: Sequence[Need]) -> None:
    """Every name after `::bands=` must mean something, to the sensor or to the model."""
    wanted = {normal(need.name) for need in needed}
    for name, band in zip(spec.bands or (), inspection.bands, strict=False):
        if name == UNUSED or band.band is not None or normal(name) in wanted:
            continue
        sensors = [catalogue()[inspection.sensor]] if inspection.sensor else list(catalogue().values())
        spellings = list(dict.fromkeys(known.name for sensor in sensors for known in sensor.bands))
        near = difflib.get_close_matches(name, spellings, n=4) or spellings[:14]
        raise ParameterError(
            f'"{name}" is no band of {inspection.sensor or "a known sensor"}', fix=f"write one of {', '.join(near)}"
        )


def _name(spec: InputSpec) -> str:
    return spec.paths[0] if len(spec.paths) == 1 else f"{spec.paths[0]} and {len(spec.paths) - 1} more"
