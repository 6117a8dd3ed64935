"""Which band of an input serves a band that a model needs: by name, by wavelength, by polarisation."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Protocol

from backend.protocol.errors import InputError
from backend.sensors.catalogue import Band, catalogue, normal
from backend.sensors.inspect import InputBand

# The common names of the STAC electro-optical extension as people say them.
WORDS = {
    "coastal": "coastal aerosol",
    "rededge071": "red edge 1",
    "rededge075": "red edge 2",
    "rededge078": "red edge 3",
    "nir": "near infrared",
    "nir08": "narrow near infrared",
    "nir09": "water vapour",
    "swir16": "shortwave infrared 1",
    "swir22": "shortwave infrared 2",
    "lwir11": "thermal infrared 1",
    "lwir12": "thermal infrared 2",
    "lwir": "thermal infrared",
    "pan": "panchromatic",
}


class Need(Protocol):
    """A band that a model package asks for; see `backend.manifest`."""

    @property
    def name(self) -> str:
        """Name in the package's first sensor."""

    @property
    def center_nm(self) -> float | None:
        """Central wavelength in nanometres."""

    @property
    def width_nm(self) -> float | None:
        """Width in nanometres."""

    @property
    def polarisation(self) -> str | None:
        """Radar polarisation."""


def match(needed: Sequence[Need], bands: Sequence[InputBand]) -> list[InputBand]:
    """One band of the input for every needed band, in the order of the needs.

    Raises:
        InputError: a band is missing, or two bands serve one need equally well.
    """
    found = [_serve(need, bands) for need in needed]
    missing = [need for need, band in zip(needed, found, strict=True) if band is None]
    if missing:
        raise _missing(missing, bands)
    return [band for band in found if band is not None]


def present(needed: Sequence[Need], bands: Sequence[InputBand]) -> tuple[bool, ...]:
    """Which of the needed bands the input has.

    Raises:
        InputError: two bands serve one need equally well.
    """
    return tuple(_serve(need, bands) is not None for need in needed)


def shared_bands(needed: Sequence[Need], found: Sequence[InputBand]) -> list[str]:
    """Words on bands of the input that serve more than one need."""
    users: dict[int, list[str]] = {}
    for need, band in zip(needed, found, strict=True):
        users.setdefault(band.number, []).append(need.name)
    return [
        f"{bands_of(found, number)} stands in for {' and '.join(names)}"
        for number, names in users.items()
        if len(set(names)) > 1
    ]


def bands_of(found: Sequence[InputBand], number: int) -> str:
    """Words for the band with a number."""
    return next(band.words() for band in found if band.number == number)


def words_of(need: Need) -> str:
    """The needed band as a practitioner says it, such as "red edge 1 (B05, 704 nm)"."""
    if need.polarisation:
        return f"{need.polarisation} polarisation"
    if need.center_nm is None:
        return need.name
    common = _common_name(need)
    plain = WORDS.get(common, common) if common else ""
    wave = f"{need.center_nm:.0f} nm"
    if not plain or normal(plain) == normal(need.name):
        return f"{need.name} ({wave})"
    return f"{plain} ({need.name}, {wave})"


def _serve(need: Need, bands: Sequence[InputBand]) -> InputBand | None:
    """The band that serves a need; None when there is none."""
    named = [band for band in bands if _same_name(need, band) and _compatible(need, band)]
    if named:
        return _only(need, named)
    if need.polarisation:
        polarised = [band for band in bands if band.band is not None and band.band.polarisation == need.polarisation]
        return _only(need, polarised) if polarised else None
    if need.center_nm is None:
        return _by_place(need, bands)
    # A panchromatic band covers all colours and can stand in for none.
    coloured = [band for band in bands if band.band is None or band.band.common != "pan"]
    within = [(_distance(need, band), band) for band in coloured if _inside(need, band)]
    if within:
        nearest = min(distance for distance, _ in within)
        return _only(need, [band for distance, band in within if distance == nearest])
    common = _common_name(need)
    alike = [band for band in coloured if common and band.band is not None and band.band.common == common]
    return _only(need, alike) if alike else None


def _only(need: Need, candidates: Sequence[InputBand]) -> InputBand:
    if len(candidates) > 1:
        places = ", ".join(f"number {band.number}" for band in candidates)
        raise InputError(
            f"{words_of(need)} is there {len(candidates)} times",
            f"bands {places} fit equally well",
            'say which one with ::bands=, writing "-" for bands that are not used',
        )
    return candidates[0]


def _same_name(need: Need, band: InputBand) -> bool:
    wanted = normal(need.name)
    if band.band is None:
        return bool(band.part.label) and normal(band.part.label) == wanted
    spellings = {
        normal(text) for text in (band.band.name, *band.band.aliases, band.band.common or "", band.part.label) if text
    }
    return wanted in spellings


def _compatible(need: Need, band: InputBand) -> bool:
    """False when wavelengths or polarisations contradict equal names: Landsat's B5 is not Sentinel-2's."""
    if need.polarisation:
        return band.band is not None and band.band.polarisation == need.polarisation
    if need.center_nm is None:
        return True
    return _inside(need, band)


def _inside(need: Need, band: InputBand) -> bool:
    """True when one centre lies inside the other band's width."""
    return _distance(need, band) <= max(need.width_nm or 0.0, _width(band)) / 2


def _distance(need: Need, band: InputBand) -> float:
    """Nanometres between the centres; infinite where one has none."""
    centre = _centre(band)
    return math.inf if centre is None or need.center_nm is None else abs(centre - need.center_nm)


def _centre(band: InputBand) -> float | None:
    return band.band.center_nm if band.band is not None else band.part.center_nm


def _width(band: InputBand) -> float:
    return (band.band.width_nm if band.band is not None else band.part.width_nm) or 0.0


def _by_place(need: Need, bands: Sequence[InputBand]) -> InputBand | None:
    """For models without wavelengths and polarisations: "B3" is the third band of a raster without names."""
    place = re.fullmatch(r"b(?:and)?(\d+)", normal(need.name))
    if place is None or any(band.part.label for band in bands):
        return None
    return next((band for band in bands if band.number == int(place[1])), None)


def _common_name(need: Need) -> str | None:
    """Common name of the catalogue's band that a need describes."""
    if need.center_nm is None:
        return None
    same = [band for band in _spectral() if normal(band.name) == normal(need.name) and _near(band, need.center_nm)]
    near = same or [band for band in _spectral() if band.common and _near(band, need.center_nm)]
    best = min(near, key=lambda band: abs((band.center_nm or 0.0) - (need.center_nm or 0.0)), default=None)
    return best.common if best else None


def _spectral() -> list[Band]:
    return [band for sensor in catalogue().values() for band in sensor.bands if band.center_nm is not None]


def _near(band: Band, center_nm: float) -> bool:
    return band.center_nm is not None and abs(band.center_nm - center_nm) <= (band.width_nm or 0.0) / 2


def _missing(missing: Sequence[Need], bands: Sequence[InputBand]) -> InputError:
    wanted = ", ".join(words_of(need) for need in missing)
    known = [band.words() for band in bands if band.band is not None]
    others = [band.words() for band in bands if band.band is None]
    has = ", ".join(known[:14]) + (", ..." if len(known) > 14 else "")
    if not known:
        has = f"bands that were not recognised ({', '.join(others[:6])}{', ...' if len(others) > 6 else ''})"
    fix = "choose a model that needs fewer bands, or add the missing ones"
    if others:
        fix = 'name the bands with ::bands= in file order ("-" for one that is not used), or choose another model'
    return InputError(f"the model needs {wanted}", f"your input has {has}", fix)
