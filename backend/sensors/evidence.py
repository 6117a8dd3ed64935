"""The words about a raster that recognition may rely on, with how much each kind of place counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from backend.sensors.catalogue import Sensor

METADATA, NAME, FOLDER = 3, 2, 1
PLACES = {METADATA: "metadata", NAME: "name", FOLDER: "folder name"}
_LONGEST = 300  # longer items are XML, WKT and history, where a sensor's name proves nothing
_UNIT_KEYS = {"units", "unit", "data_units", "radiometry"}


@dataclass(frozen=True)
class Evidence:
    """Texts about an input: metadata values, file and product names, folder names."""

    texts: tuple[tuple[int, str], ...]

    def mention(self, sensor: Sensor) -> int:
        """Strength of the best text that names the sensor, 0 when none does."""
        return max((strength for strength, text in self.texts if sensor.mentioned(text)), default=0)

    def where(self, sensor: Sensor) -> str:
        """The text that names the sensor, for the user."""
        strength = self.mention(sensor)
        return next(
            (
                f'{PLACES[strength]} "{text}"'
                for rank, text in self.texts
                if rank == strength and sensor.mentioned(text)
            ),
            "",
        )

    def level(self, sensor: Sensor) -> bool:
        """True when a text names the sensor's processing level."""
        return any(sensor.level_mentioned(text) for _, text in self.texts)

    def names(self) -> tuple[str, ...]:
        """Names of files, products and folders."""
        return tuple(text for strength, text in self.texts if strength in (NAME, FOLDER))


def gather(tags: Mapping[str, str], labels: Iterable[str], names: Iterable[str], folders: Iterable[str]) -> Evidence:
    """Evidence of metadata items, band labels, file and folder names."""
    found = [
        (METADATA, value)
        for value in tags.values()
        if 0 < len(value) <= _LONGEST and not value.lstrip().startswith(("<", "{", "PROJCS", "GEOGCS"))
    ]
    found += [(METADATA, label) for label in labels if label]
    found += [(NAME, name) for name in names if name]
    found += [(FOLDER, folder) for folder in folders if folder]
    return Evidence(tuple(dict.fromkeys(found)))


@dataclass(frozen=True)
class Statement:
    """A unit as a text states it.

    Attributes:
        unit: a unit of the catalogue; None when the text names none or several.
        scale: factor from stored numbers, None when the text gives none.
    """

    unit: str | None = None
    scale: float | None = None


_UNITS = {
    "reflectance": r"reflectance",
    "db": r"(^|[^a-z])db([^a-z]|$)|decibel",
    "linear": r"(^|[^a-z])(linear|power)([^a-z]|$)",
    "radiance": r"radiance",
    "kelvin": r"kelvin|brightness temperature|^k$",
    "index": r"vegetation index|(^|[^a-z])(ndvi|evi)([^a-z]|$)",
    "dn": r"digital numbers?|(^|[^a-z])dns?([^a-z]|$)",
}


def read_unit(text: str) -> Statement:
    """The unit that a text such as "surface reflectance x 10000" states."""
    kinds = [unit for unit, pattern in _UNITS.items() if re.search(pattern, text, re.IGNORECASE)]
    if len(kinds) != 1:
        return Statement()
    factor = re.search(r"[x×*]\s*(10+)(?![0-9])", text)
    return Statement(kinds[0], 1.0 / float(factor[1]) if factor else None)


def unit_texts(tags: Mapping[str, str]) -> list[str]:
    """Values of the metadata items that state units."""
    return [value for key, value in tags.items() if key.rsplit("#", 1)[-1].lower() in _UNIT_KEYS and value]


def name_states_decibel(name: str) -> bool:
    """True when a file name carries "db" as a word of its own, as in "sar_900m_db.tif"."""
    return re.search(r"(^|[_\W])d[bB]([_\W]|$)", name) is not None
