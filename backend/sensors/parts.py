"""What an input consists of before anything is recognised: bands in files, product metadata, dates to choose from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from backend.geo.source import BandInfo, DatasetInfo


@dataclass(frozen=True)
class Coefficients:
    """Conversion of one band as product metadata states it: (number + offset) * scale."""

    scale: float
    offset: float
    unit: str


@dataclass(frozen=True)
class Product:
    """What the metadata file of a delivered product says.

    Attributes:
        name: product name.
        sensor: catalogue name of the sensor, None where the file does not say it.
        date: acquisition date, ISO 8601.
        baseline: processing baseline such as "04.00".
        coefficients: conversion by band name; may be empty.
        nodata: value reserved for "no data".
    """

    name: str
    sensor: str | None = None
    date: str | None = None
    baseline: str | None = None
    coefficients: Mapping[str, Coefficients] = field(default_factory=dict)
    nodata: float | None = None


@dataclass(frozen=True)
class Part:
    """One band of an input.

    Attributes:
        paths: the file that holds it, or the tiles of a mosaic.
        index: 1-based in each of them.
        label: what the files call it, "" where they call it nothing.
        header: its header in the first file.
        center_nm: wavelength that the file states.
        width_nm: width that the file states.
    """

    paths: tuple[str, ...]
    index: int
    label: str
    header: BandInfo
    center_nm: float | None = None
    width_nm: float | None = None


@dataclass(frozen=True)
class Problem:
    """Why an input cannot be used.

    Attributes:
        text: for people.
        names_file: True when the text is a sentence of its own that says which file is meant.
    """

    text: str
    names_file: bool = False


def problems_of(datasets: Iterable[DatasetInfo]) -> tuple[Problem, ...]:
    """Why datasets cannot be placed on Earth, for those that cannot."""
    return tuple(Problem(problem.sentence(), names_file=True) for info in datasets if (problem := info.problem()))


@dataclass(frozen=True)
class Parts:
    """An input taken apart.

    Attributes:
        layout: "bands in one file", "one file per band", "several files", "mosaic", "cube", "series in one file" or
            "SAFE".
        parts: bands in the order that `::bands=` counts.
        datasets: header of the first file of every group of bands.
        names: names of files and products, most telling first.
        folders: names of the folders around them.
        dates: acquisition dates to choose from; empty when there is just one date.
        product: metadata of the product, where there is some.
        doubts: what is unsure.
        problems: why the input cannot be used.
    """

    layout: str
    parts: tuple[Part, ...]
    datasets: tuple[DatasetInfo, ...]
    names: tuple[str, ...]
    folders: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    date: str | None = None
    product: Product | None = None
    doubts: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def tags(self) -> dict[str, str]:
        """Metadata items of the datasets; the first dataset wins."""
        merged: dict[str, str] = {}
        for dataset in reversed(self.datasets):
            for domain in ("TIFFTAGS", "ENVI", "IMAGERY", ""):
                merged.update(dataset.tags.get(domain, {}))
        return merged
