"""Values on the command line into what they mean: inputs with their settings, sizes, numbers, lists."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace

from backend.protocol.errors import ParameterError
from backend.protocol.jobs import InputSpec

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
# More windows in one call than any device holds.
_MOST_WINDOWS = 65_536


def number_for(option: str) -> Callable[[str], float]:
    """Reads the number of an option; the reader raises `ParameterError`."""
    return lambda text: _number(text, option)


def count_for(option: str) -> Callable[[str], int]:
    """Reads the whole number of an option; the reader raises `ParameterError`."""

    def read(text: str) -> int:
        if re.fullmatch(r"\s*\d{1,9}\s*", text) is None or int(text) > _MOST_WINDOWS:
            raise ParameterError(
                f'"{text}" is no number for {option}', "", "write a whole number, 1 or more; 0 leaves it open"
            )
        return int(text)

    return read


def parse_input(modality: str, text: str) -> InputSpec:
    """An input from "PATH::sensor=NAME;date=…;bands=B4/B3/B2".

    Raises:
        ParameterError: an unknown key or an unusable value.
    """
    path, _, options = text.partition("::")
    spec = InputSpec(modality, _split_paths(path))
    for option in filter(None, options.split(";")):
        key, equals, value = option.partition("=")
        if not equals or not value.strip():
            raise ParameterError(
                f'"{option}" in --{modality} {path} is no option', "", "write it as in ::date=2024-05-01"
            )
        spec = _with_option(spec, key.strip(), value.strip())
    return spec


def _with_option(spec: InputSpec, key: str, value: str) -> InputSpec:
    match key:
        case "sensor":
            return replace(spec, sensor=value)
        case "date":
            if not re.fullmatch(r"\d{4}-\d{2}-\d{2}(T[0-9:.]+Z?)?", value):
                raise ParameterError(f'"{value}" is no date', "", "write it as YYYY-MM-DD")
            return replace(spec, date=value)
        case "bands":
            return replace(spec, bands=tuple(value.split("/")))
        case "unit":
            return replace(spec, unit=value)
        case "offset":
            return replace(spec, offset=_finite(value, key))
        case "scale":
            return replace(spec, scale=_finite(value, key))
        case "nodata":
            return replace(spec, nodata=_number(value, key))
        case "role":
            if value not in ("before", "after"):
                raise ParameterError(f'"{value}" is no role of an input', "", "write ::role=before or ::role=after")
            return replace(spec, role=value)
    raise ParameterError(
        f'"{key}" is no option of an input', "there are sensor, date, bands, unit, offset, scale, nodata, role"
    )


def parse_size(text: str) -> int:
    """Bytes from "2GB", "800 MB" or a plain number.

    Raises:
        ParameterError: when it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2].upper() not in _UNITS:
        raise ParameterError(f'"{text}" is no amount of memory', "", "write it as in 2GB or 800MB")
    return round(float(match[1]) * _UNITS[match[2].upper()])


def _split_paths(text: str) -> tuple[str, ...]:
    paths = tuple(part for part in text.split("|") if part)
    if not paths:
        raise ParameterError("a path is empty", "", "give the name of a raster")
    return paths


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise ParameterError(f'"{text}" is no number for {name}', "", "write it as in 10 or 0.0001") from error
    return value


def _finite(text: str, name: str) -> float:
    value = _number(text, name)
    if not math.isfinite(value) or (name == "scale" and value == 0):
        raise ParameterError(f"{name} {text} makes no sense", "numbers could not be converted with it")
    return value


def parse_extent(text: str) -> tuple[float, float, float, float]:
    """Four numbers from "XMIN,YMIN,XMAX,YMAX".

    Raises:
        ParameterError: when there are not four.
    """
    parts = [_number(part, "--extent") for part in text.split(",")]
    if len(parts) != 4:
        raise ParameterError("--extent needs four numbers", f"it has {len(parts)}", "write it as XMIN,YMIN,XMAX,YMAX")
    return parts[0], parts[1], parts[2], parts[3]


def parse_integers(text: str) -> tuple[int, ...]:
    """Whole numbers from "3,8,9".

    Raises:
        ParameterError: when there is none, or something else.
    """
    try:
        numbers = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        numbers = ()
    if not numbers:
        raise ParameterError(f'"{text}" is no list of mask values', "", "write whole numbers, as in 3,8,9")
    return numbers
