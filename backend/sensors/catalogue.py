"""The known sensors: bands, units, rules from digital numbers to physical values; read from `data/*.json`."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache

from backend.protocol.errors import ParameterError

MODALITIES = ("hr", "ms", "sar", "raster")
UNITS = ("reflectance", "radiance", "kelvin", "db", "linear", "dn", "index")
TRANSFERS = ("", "amplitude")


@dataclass(frozen=True)
class Band:
    """One band of a sensor.

    Attributes:
        name: the operator's name, such as "B8A" or "VV".
        common: common name of the STAC EO extension ("red", "nir08"), None where none fits.
        aliases: other spellings met in files.
        center_nm: central wavelength in nanometres, None for radar and for derived bands.
        width_nm: full width of the response in nanometres.
        polarisation: "VV", "VH", "HH" or "HV" for radar, else None.
        gsd_m: ground sampling distance in metres, 0 where the sensor has none of its own.
    """

    name: str
    common: str | None
    aliases: tuple[str, ...]
    center_nm: float | None
    width_nm: float | None
    polarisation: str | None
    gsd_m: float

    def words(self) -> str:
        """The band as a practitioner says it, such as "B05 (rededge071, 704 nm)"."""
        details = [self.common] if self.common and self.common.lower() != self.name.lower() else []
        if self.center_nm is not None:
            details.append(f"{self.center_nm:.0f} nm")
        return f"{self.name} ({', '.join(details)})" if details else self.name


@dataclass(frozen=True)
class DigitalRule:
    """How stored numbers become physical values: `(number + offset) * scale`, then the transfer.

    Attributes:
        name: what a user may write after `unit=` to ask for this rule.
        unit: unit of the result.
        scale: factor after the offset was added.
        offset: added to the stored number.
        transfer: "" or "amplitude" (the square is power).
        bands: names of the bands it holds for; empty for all.
        from_baseline: first processing baseline it holds for, such as "04.00".
        before_baseline: first processing baseline it no longer holds for.
        before_date: products sensed before this ISO date follow it when no baseline is known.
        product: regular expression that a product or file name must contain for the rule to hold.
        chosen: True when the rule holds only where a name or the user says so.
        note: shown as a doubt when the rule was taken because of the date alone.
        warning: what a user of the result should know whenever the rule was taken.
    """

    name: str
    unit: str
    scale: float = 1.0
    offset: float = 0.0
    transfer: str = ""
    bands: tuple[str, ...] = ()
    from_baseline: str | None = None
    before_baseline: str | None = None
    before_date: str | None = None
    product: str | None = None
    chosen: bool = False
    note: str = ""
    warning: str = ""


@dataclass(frozen=True)
class Layout:
    """Bands of files that do not name them, known from the operator's product description.

    Attributes:
        bands: band names in file order.
        certain: False when other orders are in use too.
        dtypes: data types the layout is known with; empty for any.
    """

    bands: tuple[str, ...]
    certain: bool
    dtypes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sensor:
    """One sensor at one processing level.

    Attributes:
        name: catalogue name, such as "sentinel-2-l2a".
        title: name for people.
        aliases: other names accepted after `sensor=`.
        family: sensors of one family differ only in the processing level.
        platforms: satellites or aircraft systems.
        modality: "hr", "ms", "sar" or "raster".
        level: processing level as the operator calls it.
        unit: physical unit after conversion.
        bands: bands in the operator's order.
        digital: rules from stored numbers to the unit.
        nodata: value that the operator's products reserve for "no data" without declaring it.
        mentions: regular expressions that name the sensor in tags and in names of files and folders.
        levels: regular expressions that name the processing level there.
        layouts: band orders of files without band names.
        needs_mention: True when band names alone must not lead to this sensor.
        generic: True for a stand-in that says nothing of the platform.
        most_bands: most bands that one acquisition has, 0 for all.
        priority: among sensors that fit equally well the highest is taken.
        source: where the numbers come from.
    """

    name: str
    title: str
    aliases: tuple[str, ...]
    family: str
    platforms: tuple[str, ...]
    modality: str
    level: str
    unit: str
    bands: tuple[Band, ...]
    digital: tuple[DigitalRule, ...]
    nodata: float | None
    mentions: tuple[str, ...]
    levels: tuple[str, ...]
    layouts: tuple[Layout, ...]
    needs_mention: bool
    generic: bool
    most_bands: int
    priority: int
    source: str

    def band(self, label: str) -> Band | None:
        """The band with this name, alias or common name, spelling normalised; None when there is none."""
        return _spellings(self).get(normal(label))

    def mentioned(self, text: str) -> bool:
        """True when a text names this sensor."""
        return any(re.search(pattern, text, re.IGNORECASE) for pattern in self.mentions)

    def level_mentioned(self, text: str) -> bool:
        """True when a text names this sensor's processing level."""
        return any(re.search(pattern, text, re.IGNORECASE) for pattern in self.levels)


def normal(label: str) -> str:
    """A band label without case, separators and leading zeros: "B_04", "b4" and "B04" are one."""
    text = re.sub(r"[\s_\-.]+", "", label).lower()
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", text)


@cache
def _spellings(sensor: Sensor) -> dict[str, Band]:
    """Every spelling of every band; names win over aliases, these over common names."""
    found: dict[str, Band] = {}
    for band in sensor.bands:
        found.setdefault(normal(band.name), band)
    for band in sensor.bands:
        for alias in band.aliases:
            found.setdefault(normal(alias), band)
    for band in sensor.bands:
        if band.common:
            found.setdefault(normal(band.common), band)
    return found


@cache
def catalogue() -> dict[str, Sensor]:
    """All sensors by name, in the order of their names."""
    from backend.sensors.loading import load_all  # the loader needs the classes of this module

    return {sensor.name: sensor for sensor in sorted(load_all(), key=lambda sensor: sensor.name)}


def names() -> tuple[str, ...]:
    """Names of all sensors."""
    return tuple(catalogue())


def get(name: str) -> Sensor:
    """The sensor of a name or alias.

    Raises:
        ParameterError: when there is none; near matches are named.
    """
    wanted = name.strip().lower()
    for sensor in catalogue().values():
        if wanted == sensor.name or wanted in sensor.aliases:
            return sensor
    spellings = [*names(), *(alias for sensor in catalogue().values() for alias in sensor.aliases)]
    near = difflib.get_close_matches(wanted, spellings, n=4, cutoff=0.5)
    near += [other for other in names() if wanted and wanted in other and other not in near]
    raise ParameterError(f'there is no sensor named "{name}"', fix=f"write one of {', '.join(near or names())}")
