"""Which sensor an input comes from, and which band is which: from words and layouts, never from pixel values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.sensors.catalogue import Band, Layout, Sensor, catalogue, normal
from backend.sensors.evidence import NAME, Evidence
from backend.sensors.parts import Part

CERTAIN, LIKELY, GUESS = "certain", "likely", "guess"
_MOST_SENSORS = 3
# From this many bands of an unnamed sensor on, operators' band names can hardly fit by chance.
_TELLING = 5


@dataclass(frozen=True)
class Guess:
    """A sensor and the bands that it explains.

    Attributes:
        sensor: the sensor.
        certainty: "certain", "likely" or "guess".
        reasons: why it was taken.
        assigned: band of the sensor by position among the parts.
        doubts: what is unsure.
    """

    sensor: Sensor
    certainty: str
    reasons: tuple[str, ...]
    assigned: Mapping[int, Band]
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Fit:
    """How well a sensor explains the labels."""

    sensor: Sensor
    assigned: dict[int, Band]
    by_name: int
    mention: int
    level: bool
    layout: Layout | None = None

    def rank(self) -> tuple[bool, int, int, int, bool, int]:
        return self.mention > 0, len(self.assigned), self.mention, self.by_name, self.level, self.sensor.priority


def recognise(parts: Sequence[Part], evidence: Evidence, forced: Sensor | None = None) -> list[Guess]:
    """The sensors of an input, the one with the strongest case first; several where a file combines sensors.

    Args:
        parts: bands of the input.
        evidence: words about it.
        forced: the sensor that the user or the product's metadata names; no other is tried.
    """
    if forced is not None:
        return [_forced(parts, evidence, forced)]
    spectral = _hyperspectral(parts, evidence)
    if spectral is not None:
        return [spectral]
    guesses: list[Guess] = []
    free = set(range(len(parts)))
    while free and len(guesses) < _MOST_SENSORS:
        guess = _best(parts, free, evidence, {guess.sensor.modality for guess in guesses})
        if guess is None:
            break
        guesses.append(guess)
        free -= set(guess.assigned)
        if not any(parts[position].label for position in free):
            break
    return guesses


def band_of_label(sensor: Sensor, label: str) -> tuple[Band | None, bool]:
    """The band that a label means, and whether it is the operator's own name rather than a common one.

    A label of several words, such as "B5 nir" or "S2-L2A-B04", must not name two bands.
    """
    whole = sensor.band(label)
    if whole is not None:
        return whole, _own(whole, label)
    words = [word for word in re.split(r"[\s,;:()\[\]_/.\-]+", label) if len(word) > 1]
    found = {band.name: band for word in words if (band := sensor.band(word)) is not None}
    if len(found) != 1:
        return None, False
    (band,) = found.values()
    return band, any(_own(band, word) for word in words if sensor.band(word) is not None)


def _own(band: Band, label: str) -> bool:
    return normal(label) in {normal(name) for name in (band.name, *band.aliases)} and normal(label) != normal(
        band.common or ""
    )


def _forced(parts: Sequence[Part], evidence: Evidence, sensor: Sensor) -> Guess:
    """The bands of a sensor that is not in question."""
    if not sensor.bands:
        spectral = _spectral_bands(parts)
        return Guess(sensor, CERTAIN, ("named by the user or the product",), spectral)
    fit = _fit(sensor, parts, set(range(len(parts))), evidence, forced=True)
    assigned, layout = (fit.assigned, fit.layout) if fit else ({}, None)
    return Guess(sensor, CERTAIN, ("named by the user or the product",), assigned, _layout_doubt(layout))


def _hyperspectral(parts: Sequence[Part], evidence: Evidence) -> Guess | None:
    """Bands with wavelengths of their own that no named band of a sensor explains."""
    if not parts or any(part.center_nm is None for part in parts):
        return None
    for sensor in catalogue().values():
        if evidence.mention(sensor) and sensor.bands and all(band_of_label(sensor, part.label)[0] for part in parts):
            return None
    sensor = catalogue()["hyperspectral"]
    return Guess(sensor, LIKELY, ("every band states its wavelength",), _spectral_bands(parts))


def _spectral_bands(parts: Sequence[Part]) -> dict[int, Band]:
    return {
        position: Band(f"{part.center_nm:g} nm", None, (), part.center_nm, part.width_nm, None, 0.0)
        for position, part in enumerate(parts)
        if part.center_nm is not None
    }


def _best(parts: Sequence[Part], free: set[int], evidence: Evidence, taken: set[str]) -> Guess | None:
    """The sensor that explains the free bands best."""
    candidates = [sensor for sensor in catalogue().values() if sensor.modality not in taken]
    fits = [fit for sensor in candidates if (fit := _fit(sensor, parts, free, evidence)) is not None]
    if not fits:
        return None
    best = max(fits, key=_Fit.rank)
    return Guess(
        best.sensor,
        _certainty(best, parts, free, fits),
        _reasons(best, evidence),
        best.assigned,
        (*_layout_doubt(best.layout), *_level_doubt(best, fits), *_rival_doubt(best, fits)),
    )


def _fit(
    sensor: Sensor, parts: Sequence[Part], free: set[int], evidence: Evidence, forced: bool = False
) -> _Fit | None:
    """The sensor's case; None when it has none."""
    mention, level = evidence.mention(sensor), evidence.level(sensor)
    if sensor.needs_mention and not mention and not forced:
        return None
    if not any(parts[position].label for position in free):
        layout = _layout(sensor, parts, free)
        if layout is None or not (mention or sensor.generic or forced):
            return None
        names = dict(zip(sorted(free), layout.bands, strict=True))
        assigned = {position: band for position, name in names.items() if (band := sensor.band(name)) is not None}
        return _Fit(sensor, assigned, 0, mention, level, layout)
    assigned, by_name = {}, 0
    for position in sorted(free):
        band, own = band_of_label(sensor, parts[position].label) if parts[position].label else (None, False)
        if band is None or not (own or mention or sensor.generic or forced):
            continue
        assigned[position] = band
        by_name += own
    distinct = {band.name for band in assigned.values()}
    if not assigned or (sensor.most_bands and len(distinct) > sensor.most_bands and not forced):
        return None
    return _Fit(sensor, assigned, by_name, mention, level)


def _layout(sensor: Sensor, parts: Sequence[Part], free: set[int]) -> Layout | None:
    """The operator's band order for this number of bands and data type."""
    types = {parts[position].header.dtype for position in free}
    return next(
        (
            layout
            for layout in sensor.layouts
            if len(layout.bands) == len(free) and (not layout.dtypes or types <= set(layout.dtypes))
        ),
        None,
    )


def _certainty(best: _Fit, parts: Sequence[Part], free: set[int], fits: Sequence[_Fit]) -> str:
    labelled = [position for position in free if parts[position].label]
    complete = len(best.assigned) == len(labelled) or (best.layout is not None and best.layout.certain)
    if best.mention >= NAME and complete and best.layout is None and not _level_doubt(best, fits):
        return CERTAIN
    telling = best.by_name >= _TELLING and not best.sensor.generic
    return LIKELY if (best.mention >= NAME and complete) or telling or (best.mention and best.by_name) else GUESS


def _reasons(best: _Fit, evidence: Evidence) -> tuple[str, ...]:
    reasons = [f"named in {evidence.where(best.sensor)}"] if best.mention else []
    if best.layout is not None:
        reasons.append(f"{len(best.layout.bands)} bands without names, as this sensor delivers them")
    else:
        count = len(best.assigned)
        reasons.append(
            f"{count} {'band has' if count == 1 else 'bands have'} its {'names' if best.by_name else 'common names'}"
        )
    return tuple(reasons)


def _layout_doubt(layout: Layout | None) -> tuple[str, ...]:
    if layout is None or layout.certain:
        return ()
    return (
        f"the bands have no names; their order is taken to be {', '.join(layout.bands)}, "
        "give ::bands= where it is another",
    )


def _level_doubt(best: _Fit, fits: Sequence[_Fit]) -> tuple[str, ...]:
    """Another processing level of the same sensor explains the input just as well."""
    others = [
        fit.sensor
        for fit in fits
        if fit.sensor.family == best.sensor.family
        and fit.sensor is not best.sensor
        and len(fit.assigned) == len(best.assigned)
        and fit.level == best.level
    ]
    if not others:
        return ()
    return (
        f"the processing level is not stated; taken for {best.sensor.level}, "
        f"give ::sensor={others[0].name} for {others[0].level}",
    )


def _rival_doubt(best: _Fit, fits: Sequence[_Fit]) -> tuple[str, ...]:
    """Without a word about the sensor, other sensors with the same band names remain possible."""
    if best.mention:
        return ()
    rivals = sorted(
        {
            fit.sensor.name
            for fit in fits
            if fit.sensor.family != best.sensor.family
            and not fit.sensor.generic
            and len(fit.assigned) == len(best.assigned)
        }
    )
    if best.sensor.generic:
        return ("nothing names the sensor; its bands are taken by their names, give ::sensor= where it is known",)
    named = f"; {', '.join(rivals)} would fit too" if rivals else ""
    return (
        f"nothing names the sensor; taken for {best.sensor.name} by its bands{named}, "
        "give ::sensor= where it is another",
    )
