"""A model package in words: what it takes, what it gives, where it comes from."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence

from backend.manifest.package import BandNeed, InputSlot, Output, Package
from backend.protocol.errors import ParameterError
from backend.sensors.catalogue import get
from backend.sensors.matching import words_of
from backend.tasks.inputs import OPTIONS, TITLES

_LABEL = 10  # columns before the text, as in what `inspect` says
_WIDTH = 100
_UNITS = {"db": "decibel", "dn": "digital numbers", "linear": "linear power"}


def card(package: Package, built_in: bool) -> list[str]:
    """Lines for people, one fact per line; what the document leaves open is left out.

    Args:
        package: any package.
        built_in: whether it came with the program.
    """
    found = [
        _line("model", f"{package.reference}, {package.title}"),
        _line("kind", f"{package.kind} for the task {package.task}{', built in' if built_in else ''}"),
        _line("about", package.description),
    ]
    for slot in package.inputs:
        found += _input(slot)
    if package.encoder:
        found.append(_line("input", f"features of the encoder with the sha256 {package.encoder}"))
    for output in package.outputs:
        found += _classes(output)
    if package.features and not package.encoder:
        found.append(_line("features", ", ".join(f"{f.name} ({f.channels} channels)" for f in package.features)))
    overlap = f", of which neighbours share {2 * package.tiling.margin} px" if package.tiling.margin else ""
    found += [
        _line("windows", f"{package.tiling.window} px{overlap}"),
        _line("variants", ", ".join(f"{v.runtime} {v.precision}" for v in package.variants)),
        _line("network", package.architecture),
        _line("training", package.training),
        _line("data", package.attribution),
        _line("licence", "see the file LICENSE in its folder" if package.licence == "other" else package.licence),
        _line("folder", str(package.root), wrapped=False),
        _line("sha256", package.digest),
    ]
    return [line for block in found for line in block]


def _line(label: str, text: str, wrapped: bool = True) -> list[str]:
    """A labelled text, its further lines below its first; nothing for no text."""
    if not text:
        return []
    lines = textwrap.wrap(text, _WIDTH - _LABEL, break_long_words=False, break_on_hyphens=False) if wrapped else [text]
    return [f"{label if number == 0 else '':<{_LABEL}}{line}" for number, line in enumerate(lines)]


def _input(slot: InputSlot) -> Iterator[list[str]]:
    """An input: what it takes, then its bands."""
    wanted = [f"{OPTIONS[slot.modality]}, {TITLES[slot.modality]}", _UNITS.get(slot.unit, slot.unit)]
    wanted += [_pixels(slot.gsd_m), _dates(slot.dates)]
    wanted += ["may be left out"] * (not slot.required) + [f"{slot.moment} the change"] * (slot.moment != "any")
    yield _line("input", f"{slot.name}: {', '.join(part for part in wanted if part)}")
    yield _line("  sensors", _sensors(slot.sensors) if slot.sensors else "any")
    yield _line("  bands", ", ".join(_band(band) for band in slot.bands))


def _sensors(names: Sequence[str]) -> str:
    return ", ".join(f"{name} ({title})" if (title := _title(name)) else name for name in names)


def _title(name: str) -> str:
    """The catalogue's title of a sensor; "" for one that only the package knows."""
    try:
        return get(name).title
    except ParameterError:
        return ""


def _band(band: BandNeed) -> str:
    """The band as a practitioner says it, with the width that it was trained on."""
    width = f", {band.width_nm:g} nm wide" if band.width_nm else ""
    words = words_of(band)
    return f"{words.removesuffix(')')}{width})" if width and words.endswith(")") else words


def _pixels(gsd_m: tuple[float, float]) -> str:
    low, high = gsd_m
    if math.isfinite(high):
        return f"pixels of {low:g} m" if low == high else f"pixels of {low:g} to {high:g} m"
    return f"pixels of {low:g} m or more" if low > 0 else ""


def _dates(dates: tuple[int, int]) -> str:
    fewest, most = dates
    if fewest == most:
        return "one date" if most == 1 else f"{most} dates"
    return f"{fewest} to {most} dates"


def _classes(output: Output) -> Iterator[list[str]]:
    """The classes with their raster values; the threshold where there is one."""
    thresholds = output.thresholds or (None,) * len(output.classes)
    texts = [
        f"{info.value} {info.name}" + (f" (from {threshold:g} on)" if threshold is not None else "")
        for info, threshold in zip(output.classes, thresholds, strict=True)
    ]
    yield _line("classes", ", ".join(texts))
