"""Reads and checks the catalogue's data files; a mistake in one of them stops the program with its place named."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from backend.protocol.errors import InternalError
from backend.sensors.catalogue import MODALITIES, TRANSFERS, UNITS, Band, DigitalRule, Layout, Sensor, normal

FOLDER = Path(__file__).parent / "data"
POLARISATIONS = ("VV", "VH", "HH", "HV")
_FILE_KEYS = {"source", "bands", "sensors"}
_BAND_KEYS = {"name", "common", "aliases", "center_nm", "width_nm", "polarisation", "gsd_m"}
_SENSOR_KEYS = {
    "name",
    "title",
    "aliases",
    "family",
    "platforms",
    "modality",
    "level",
    "unit",
    "nodata",
    "bands",
    "digital",
    "mentions",
    "levels",
    "layouts",
    "needs_mention",
    "priority",
}
_SENSOR_OPTIONS = {"generic", "most_bands", "gsd_m"}
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_BASELINE = re.compile(r"\d\d\.\d\d")


def load_all(folder: Path = FOLDER) -> list[Sensor]:
    """Every sensor of every data file.

    Raises:
        InternalError: a file breaks a rule of the format.
    """
    sensors = [sensor for path in sorted(folder.glob("*.json")) for sensor in load_file(path)]
    spellings = [name for sensor in sensors for name in (sensor.name, *sensor.aliases)]
    doubled = sorted({name for name in spellings if spellings.count(name) > 1})
    _require(not doubled, folder.name, f"sensor names occur twice: {', '.join(doubled)}")
    return sensors


def load_file(path: Path) -> list[Sensor]:
    """The sensors of one data file.

    Raises:
        InternalError: the file breaks a rule of the format.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InternalError(f"the sensor file {path.name} cannot be read", str(error)) from error
    _keys(content, _FILE_KEYS, set(), path.name)
    source = _text(content["source"], f"{path.name}: source")
    table = {key: _band(key, value, f"{path.name}: band {key}") for key, value in content["bands"].items()}
    return [_sensor(entry, table, source, path.name) for entry in content["sensors"]]


def _band(key: str, entry: Mapping[str, Any], place: str) -> Band:
    _keys(entry, {"gsd_m"}, _BAND_KEYS, place)
    polarisation = entry.get("polarisation")
    _require(polarisation is None or polarisation in POLARISATIONS, place, f'polarisation "{polarisation}"')
    center, width = entry.get("center_nm"), entry.get("width_nm")
    _require((center is None) == (width is None), place, "centre and width belong together")
    _require(polarisation is None or center is None, place, "a polarisation has no wavelength")
    if center is not None:
        _require(300 < _number(center, place) < 15_000, place, f"centre {center} nm")
        _require(0 < _number(width, place) < center, place, f"width {width} nm")
    _require(_number(entry["gsd_m"], place) >= 0, place, "negative ground sampling distance")
    return Band(
        entry.get("name", key),
        entry.get("common"),
        _texts(entry.get("aliases", []), place),
        None if center is None else float(center),
        None if width is None else float(width),
        polarisation,
        float(entry["gsd_m"]),
    )


def _sensor(entry: Mapping[str, Any], table: Mapping[str, Band], source: str, file: str) -> Sensor:
    place = f"{file}: {entry.get('name', 'sensor without a name')}"
    _keys(entry, _SENSOR_KEYS, _SENSOR_OPTIONS, place)
    _require(
        re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry["name"]) is not None, place, "names are lower case with hyphens"
    )
    _require(entry["modality"] in MODALITIES, place, f'modality "{entry["modality"]}"')
    _require(entry["unit"] in UNITS, place, f'unit "{entry["unit"]}"')
    unknown = [key for key in entry["bands"] if key not in table]
    _require(not unknown, place, f"bands that the file does not define: {', '.join(unknown)}")
    bands = tuple(_at_gsd(table[key], entry.get("gsd_m")) for key in entry["bands"])
    names = [normal(band.name) for band in bands]
    _require(len(set(names)) == len(names), place, "two bands have one name")
    known = {band.name for band in bands}
    return Sensor(
        name=entry["name"],
        title=_text(entry["title"], place),
        aliases=_texts(entry["aliases"], place),
        family=_text(entry["family"], place),
        platforms=_texts(entry["platforms"], place),
        modality=entry["modality"],
        level=str(entry["level"]),
        unit=entry["unit"],
        bands=bands,
        digital=tuple(_rule(rule, known, place) for rule in entry["digital"]),
        nodata=None if entry["nodata"] is None else float(_number(entry["nodata"], place)),
        mentions=_patterns(entry["mentions"], place),
        levels=_patterns(entry["levels"], place),
        layouts=tuple(_layout(layout, known, place) for layout in entry["layouts"]),
        needs_mention=_flag(entry["needs_mention"], place),
        generic=_flag(entry.get("generic", False), place),
        most_bands=int(_number(entry.get("most_bands", 0), place)),
        priority=int(_number(entry["priority"], place)),
        source=source,
    )


def _at_gsd(band: Band, gsd_m: float | None) -> Band:
    """The band, resampled by the operator when the sensor states one ground sampling distance for all."""
    if gsd_m is None:
        return band
    return Band(band.name, band.common, band.aliases, band.center_nm, band.width_nm, band.polarisation, float(gsd_m))


def _rule(entry: Mapping[str, Any], bands: set[str], place: str) -> DigitalRule:
    required = {field.name for field in fields(DigitalRule) if field.default is MISSING}
    _keys(entry, required, {field.name for field in fields(DigitalRule)}, f"{place}: rule")
    place = f"{place}: rule {entry['name']}"
    _require(entry["unit"] in UNITS, place, f'unit "{entry["unit"]}"')
    _require(entry["name"] not in UNITS, place, "a rule may not be named like a unit")
    _require(entry.get("transfer", "") in TRANSFERS, place, f'transfer "{entry.get("transfer")}"')
    _require(_number(entry.get("scale", 1), place) != 0, place, "scale 0")
    _number(entry.get("offset", 0), place)
    unknown = set(entry.get("bands", [])) - bands
    _require(not unknown, place, f"bands that the sensor does not have: {', '.join(sorted(unknown))}")
    for key in ("from_baseline", "before_baseline"):
        _require(key not in entry or _BASELINE.fullmatch(entry[key]) is not None, place, f"{key} is written as 04.00")
    _require(
        "before_date" not in entry or _ISO_DATE.fullmatch(entry["before_date"]) is not None,
        place,
        "before_date is an ISO date",
    )
    if "product" in entry:
        _patterns([entry["product"]], place)
    values = dict(entry, bands=_texts(entry.get("bands", []), place))
    return DigitalRule(**values)


def _layout(entry: Mapping[str, Any], bands: set[str], place: str) -> Layout:
    _keys(entry, {"bands", "certain"}, {"dtypes"}, f"{place}: layout")
    unknown = set(entry["bands"]) - bands
    _require(not unknown, place, f"layout bands that the sensor does not have: {', '.join(sorted(unknown))}")
    return Layout(_texts(entry["bands"], place), _flag(entry["certain"], place), _texts(entry.get("dtypes", []), place))


def _patterns(values: Any, place: str) -> tuple[str, ...]:
    patterns = _texts(values, place)
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise InternalError(
                f"the sensor file is wrong at {place}", f'"{pattern}" is no regular expression: {error}'
            ) from error
    return patterns


def _keys(entry: Any, required: set[str], optional: set[str], place: str) -> None:
    _require(isinstance(entry, Mapping), place, "an object is expected")
    missing, unknown = required - set(entry), set(entry) - required - optional
    _require(not missing, place, f"missing {', '.join(sorted(missing))}")
    _require(not unknown, place, f"unknown {', '.join(sorted(unknown))}")


def _text(value: Any, place: str) -> str:
    _require(isinstance(value, str) and bool(value), place, "a text is expected")
    return str(value)


def _texts(values: Any, place: str) -> tuple[str, ...]:
    _require(isinstance(values, (list, tuple)), place, "a list of texts is expected")
    return tuple(_text(value, place) for value in values)


def _number(value: Any, place: str) -> float:
    _require(
        isinstance(value, (int, float)) and not isinstance(value, bool), place, f"a number is expected, not {value!r}"
    )
    return float(value)


def _flag(value: Any, place: str) -> bool:
    _require(isinstance(value, bool), place, "true or false is expected")
    return bool(value)


def _require(fine: bool, place: str, why: str) -> None:
    if not fine:
        raise InternalError(f"the sensor file is wrong at {place}", why)
