"""What an input is: grid, bands, sensor, units, dates, and everything that is unsure or wrong about it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend.geo.grid import Grid
from backend.protocol.errors import ParameterError
from backend.protocol.jobs import InputSpec
from backend.sensors.catalogue import Band, Sensor, get
from backend.sensors.dates import Dating, contradiction, date_of, parse_date
from backend.sensors.evidence import Evidence, Statement, gather, name_states_decibel, read_unit, unit_texts
from backend.sensors.extent import extent_of
from backend.sensors.files import take_apart
from backend.sensors.parts import Part, Parts, Problem
from backend.sensors.radiometry import Facts, Open, Radiometry, decide
from backend.sensors.recognise import Guess, recognise

UNUSED = "-"  # in `::bands=`, a band of the file that is not used
_COMPLEX_NAMES = ({"real", "imag"}, {"real", "imaginary"}, {"i", "q"})
_FINEST = 6  # digits of a pixel size for people


@dataclass(frozen=True)
class InputBand:
    """One band of an input.

    Attributes:
        number: place in the input from 1, as `::bands=` counts.
        part: where it lies and what the file says about it.
        sensor: the sensor it was recognised for.
        band: the sensor's band; None when it was not recognised.
        facts: what is known of its numbers.
        radiometry: what its numbers mean, or the open question; None when it was not recognised.
    """

    number: int
    part: Part
    sensor: Sensor | None
    band: Band | None
    facts: Facts
    radiometry: Radiometry | Open | None

    def words(self) -> str:
        """The band for people: its name, else what the file calls it, else its number."""
        return self.band.words() if self.band else self.part.label or f"band {self.number}"

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        header, found = self.part.header, self.radiometry
        known = found if isinstance(found, Radiometry) else None
        return {
            "number": self.number,
            "files": list(self.part.paths),
            "index": self.part.index,
            "description": self.part.label,
            "sensor": self.sensor.name if self.sensor else None,
            "band": self.band.name if self.band else None,
            "common_name": self.band.common if self.band else None,
            "center_nm": self.band.center_nm if self.band else self.part.center_nm,
            "width_nm": self.band.width_nm if self.band else self.part.width_nm,
            "polarisation": self.band.polarisation if self.band else None,
            "dtype": header.dtype,
            "nodata": None if header.nodata is None else _plain(header.nodata),
            "unit": known.unit if known else None,
            "offset": known.offset if known else None,
            "scale": known.scale if known else None,
            "transfer": known.transfer if known else None,
        }


@dataclass(frozen=True)
class Inspection:
    """What is known of an input before any pixel is read.

    Attributes:
        paths: the names as given.
        layout: how bands lie in files, see `Parts`.
        grid: grid of the finest band; None when it has no usable place on Earth.
        size: columns and rows of the finest band.
        sensor: catalogue name of the sensor that explains most, None when none does.
        certainty: "certain", "likely", "guess" or "unknown".
        reasons: why that sensor.
        level: processing level.
        date: acquisition date, ISO 8601.
        dates: dates to choose from, where the input holds several.
        baseline: processing baseline of the product, where it is known.
        bands: the bands.
        nodata: value that the product reserves for "no data" without declaring it in its images.
        notes: what is unsure about the input as a whole.
        problems: why the input cannot be used.
    """

    paths: tuple[str, ...]
    layout: str
    grid: Grid | None
    size: tuple[int, int]
    sensor: str | None
    certainty: str
    reasons: tuple[str, ...]
    level: str | None
    date: str | None
    dates: tuple[str, ...]
    baseline: str | None
    bands: tuple[InputBand, ...]
    nodata: float | None
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def doubts(self) -> tuple[str, ...]:
        """Everything that is unsure, but for the questions."""
        assumed = self.assumptions(band.radiometry for band in self.bands)
        return tuple(dict.fromkeys([*assumed, *_unrecognised(self.bands)]))

    def assumptions(self, meanings: Iterable[Radiometry | Open | None]) -> tuple[str, ...]:
        """What is taken for granted when the input is used with these meanings of its numbers."""
        known = [meaning for meaning in meanings if isinstance(meaning, Radiometry)]
        texts = [text for meaning in known for text in (meaning.doubt, meaning.warning) if text]
        return tuple(dict.fromkeys([*self.notes, *texts]))

    def questions(self) -> tuple[Open, ...]:
        """What an option must decide before the numbers can be used."""
        return tuple(dict.fromkeys(band.radiometry for band in self.bands if isinstance(band.radiometry, Open)))

    def to_dict(self) -> dict[str, Any]:
        """JSON form for `earthprism inspect --json`."""
        return {
            "paths": list(self.paths),
            "layout": self.layout,
            "grid": _grid_dict(self.grid),
            "width": self.size[0],
            "height": self.size[1],
            "sensor": self.sensor,
            "modality": get(self.sensor).modality if self.sensor else None,
            "certainty": self.certainty,
            "reasons": list(self.reasons),
            "level": self.level,
            "date": self.date,
            "dates": list(self.dates),
            "baseline": self.baseline,
            "bands": [band.to_dict() for band in self.bands],
            "doubts": self._all_doubts(),
            "problems": [problem.text for problem in self.problems],
        }

    def lines(self) -> list[str]:
        """Text for people, one fact per line."""
        sensor = (
            f"{self.sensor}, {get(self.sensor).title} ({self.certainty}: {'; '.join(self.reasons)})"
            if self.sensor
            else "not recognised"
        )
        found = [
            f"layout    {self.layout}",
            f"grid      {_grid_words(self.grid, self.size)}",
            f"sensor    {sensor}",
            f"date      {self.date or 'not known'}",
        ]
        if len(self.dates) > 1:
            found.append(
                f"dates     {len(self.dates)}: {', '.join(self.dates[:6])}{', ...' if len(self.dates) > 6 else ''}"
            )
        found += [f"band {band.number:<4} {_band_words(band)}" for band in self.bands]
        found += [f"doubt     {text}" for text in self._all_doubts()]
        found += [f"problem   {problem.text}" for problem in self.problems]
        return found

    def _all_doubts(self) -> list[str]:
        return [*self.doubts, *(f"{question.question}: {question.answer}" for question in self.questions())]


def inspect(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], spec: InputSpec | None = None
) -> Inspection:
    """What an input is, from headers, metadata and names; no pixel is read.

    Args:
        paths: a raster, a folder, a product, or several files that belong together.
        spec: options of the user that say what metadata do not.

    Raises:
        SourceError: nothing can be opened under a name.
        ParameterError: an option does not fit the input.
    """
    names = (os.fspath(paths),) if isinstance(paths, (str, os.PathLike)) else tuple(os.fspath(path) for path in paths)
    date = _date_option(spec)
    parts = take_apart(names, date)
    if spec is not None and spec.bands is not None:
        parts = _relabelled(parts, spec.bands)
    evidence = gather(parts.tags(), (part.label for part in parts.parts), parts.names, parts.folders)
    guesses = recognise(parts.parts, evidence, _forced_sensor(parts, spec))
    dating = _dating(parts, date)
    baseline = _baseline(parts, evidence)
    bands = _bands(parts, guesses, evidence, dating.date, baseline, spec)
    main = guesses[0] if guesses else None
    extent = extent_of(parts)
    return Inspection(
        names,
        parts.layout,
        extent.grid,
        extent.size,
        main.sensor.name if main else None,
        main.certainty if main else "unknown",
        main.reasons if main else (),
        main.sensor.level or None if main else None,
        dating.date,
        parts.dates,
        baseline,
        bands,
        parts.product.nodata if parts.product else None,
        tuple(dict.fromkeys([*parts.doubts, *_notes(parts, guesses, dating, date), *extent.doubts])),
        tuple(dict.fromkeys([*parts.problems, *_problems(parts), *extent.problems])),
    )


def _date_option(spec: InputSpec | None) -> str | None:
    if spec is None or spec.date is None:
        return None
    date = parse_date(spec.date)
    if date is None:
        raise ParameterError(f'"{spec.date}" is no date', fix="write ::date=YYYY-MM-DD")
    return date


def _relabelled(parts: Parts, bands: tuple[str, ...]) -> Parts:
    """The parts under the names that the user gives them; unused ones lose theirs."""
    if len(bands) != len(parts.parts):
        raise ParameterError(
            f"::bands= names {len(bands)} bands, but the input has {len(parts.parts)}",
            fix=f'name every band in the order of the file, "{UNUSED}" for one that is not used',
        )
    named = tuple(
        replace(part, label="" if name == UNUSED else name, center_nm=None, width_nm=None)
        for part, name in zip(parts.parts, bands, strict=True)
    )
    return replace(parts, parts=named)


def _forced_sensor(parts: Parts, spec: InputSpec | None) -> Sensor | None:
    if spec is not None and spec.sensor:
        return get(spec.sensor)
    return get(parts.product.sensor) if parts.product and parts.product.sensor else None


def _dating(parts: Parts, date: str | None) -> Dating:
    """The user's date, the chosen one of a series, the product's, or what tags and names say."""
    if date is not None:
        return Dating(date, origin="::date=", doubt="" if parts.date else contradiction(date, _stated_date(parts)))
    if parts.date is not None:
        return Dating(parts.date, origin="first date of the series")
    return _stated_date(parts)


def _stated_date(parts: Parts) -> Dating:
    """The product's date, or what tags and names say."""
    if parts.product is not None and parts.product.date:
        return Dating(parts.product.date, origin="product metadata")
    return date_of(parts.tags(), [*parts.names, *parts.folders])


def _baseline(parts: Parts, evidence: Evidence) -> str | None:
    """Sentinel-2 processing baseline from product metadata, a metadata item, or "N0400" in a product name."""
    if parts.product is not None:
        return parts.product.baseline
    items = {key.lower(): value for key, value in parts.tags().items()}
    item = re.fullmatch(r"N?(\d\d)\.?(\d\d)", items.get("processing_baseline", "").strip())
    if item:
        return f"{item[1]}.{item[2]}"
    return next((stated for _, text in evidence.texts if (stated := _baseline_in(text))), None)


def _baseline_in(text: str) -> str | None:
    match = re.search(r"S2[ABC]_MSIL(?:1C|2A)_\w+?_N(\d\d)(\d\d)_", text)
    return f"{match[1]}.{match[2]}" if match else None


def _bands(
    parts: Parts,
    guesses: Sequence[Guess],
    evidence: Evidence,
    date: str | None,
    baseline: str | None,
    spec: InputSpec | None,
) -> tuple[InputBand, ...]:
    stated = _statement(parts)
    found = []
    for position, part in enumerate(parts.parts):
        guess = next((guess for guess in guesses if position in guess.assigned), None)
        band = guess.assigned[position] if guess else None
        sensor = guess.sensor if guess else None
        coefficients = parts.product.coefficients.get(band.name) if parts.product and band else None
        own = read_unit(part.header.unit)
        facts = Facts(
            sensor, band, part.header, own if own.unit else stated, coefficients, baseline, date, evidence.names()
        )
        found.append(InputBand(position + 1, part, sensor, band, facts, decide(facts, spec) if band else None))
    return tuple(found)


def _statement(parts: Parts) -> Statement:
    """The unit that metadata state, else the file's name."""
    for text in unit_texts(parts.tags()):
        stated = read_unit(text)
        if stated.unit:
            return stated
    factor = parts.tags().get("reflectance_scale_factor", "")
    if factor.replace(".", "", 1).isdigit() and float(factor) > 0:
        return Statement("reflectance", 1.0 / float(factor))
    return Statement("db") if any(name_states_decibel(name) for name in parts.names) else Statement()


def _notes(parts: Parts, guesses: Sequence[Guess], dating: Dating, date: str | None) -> list[str]:
    found = [doubt for guess in guesses for doubt in guess.doubts]
    if dating.doubt:
        found.append(dating.doubt)
    if len(parts.dates) > 1 and date is None:
        found.append(
            f"it holds {len(parts.dates)} dates from {parts.dates[0]} to {parts.dates[-1]}: choose one with ::date="
        )
    return found


def _unrecognised(bands: Sequence[InputBand]) -> list[str]:
    """Words on the bands that no sensor explains; a model that does not need them does not care."""
    unknown = [band.words() for band in bands if band.band is None]
    more = f" and {len(unknown) - 6} more" if len(unknown) > 6 else ""
    return [f"not recognised: {', '.join(unknown[:6])}{more}"] if unknown else []


def _problems(parts: Parts) -> list[Problem]:
    labels = {part.label.lower() for part in parts.parts}
    types = {part.header.dtype for part in parts.parts}
    if labels in _COMPLEX_NAMES or any(kind.startswith("complex") for kind in types):
        return [
            Problem(
                "the numbers are complex (single-look radar): compute calibrated, terrain-corrected backscatter first"
            )
        ]
    if any(part.header.colour == "palette" for part in parts.parts):
        return [
            Problem("its numbers are places in a colour table: make it RGB first, as with gdal_translate -expand rgb")
        ]
    return []


def _grid_dict(grid: Grid | None) -> dict[str, Any] | None:
    if grid is None:
        return None
    authority = grid.crs.to_authority()
    return {
        **grid.to_dict(),
        "crs_name": ":".join(authority) if authority else None,
        "bounds": list(grid.bounds),
        "pixel_size_m": list(grid.pixel_size_m()),
    }


def _grid_words(grid: Grid | None, size: tuple[int, int]) -> str:
    pixels = f"{size[0]} x {size[1]} pixels"
    if grid is None:
        return f"{pixels}, no place on Earth"
    authority = grid.crs.to_authority()
    width, height = (f"{metres:.{_FINEST}g}" for metres in grid.pixel_size_m())
    return f"{pixels} of {width} x {height} m, {':'.join(authority) if authority else 'a CRS without a code'}"


def _band_words(band: InputBand) -> str:
    label = (
        f' "{band.part.label}"' if band.part.label and (band.band is None or band.part.label != band.band.name) else ""
    )
    found = band.radiometry
    unit = "unit open" if isinstance(found, Open) else found.unit if found else "not recognised"
    where = f", {len(band.part.paths)} files" if len(band.part.paths) > 1 else ""
    return f"{band.words()}{label}: {band.part.header.dtype}, {unit}{where}"


def _plain(number: float) -> float | str:
    """A number as JSON allows it."""
    return number if number == number and abs(number) != float("inf") else str(number)
