"""How right a class map is: a sample to look at, and what the sample says."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from rasterio.windows import Window as RasterioWindow

from backend.geo.class_areas import ClassAreas, class_areas
from backend.geo.env import gdal_environment
from backend.geo.geopackage import GeoPackageWriter
from backend.geo.grid import Grid
from backend.geo.labels import Labels, read_labels
from backend.geo.source import open_raster
from backend.protocol.errors import OutputError, ParameterError, SourceError
from backend.protocol.jobs import AssessJob, DesignJob
from backend.tasks.agreement import Agreement, Estimate, agreement, allocation
from backend.tasks.confusion_picture import confusion_svg
from backend.tasks.context import Context
from backend.tasks.legend import names_of

BLOCK = 2048
NO_NODATA = -1  # beyond what a byte holds
LAYER, MOST_POINTS = "reference", 100_000


@dataclass(frozen=True)
class ClassMap:
    """A raster of classes on disk.

    Attributes:
        path: the file.
        grid: its grid.
        nodata: value that is no class.
        areas: pixels and ground by value.
        names: by value, of the values that occur.
    """

    path: str
    grid: Grid
    nodata: int
    areas: ClassAreas
    names: dict[int, str]

    @property
    def values(self) -> list[int]:
        """The values that occur."""
        return list(self.names)


def assess(job: AssessJob, context: Context) -> dict[str, Any]:
    """Compare a class map with what is known of places.

    A point counts as its pixel; a polygon or a line once, as the class that most of its pixels have. References where
    the map has no class do not count.

    Returns:
        "classes", "counts" and the estimates of `backend.tasks.agreement`; "warnings"; "outputs": the files.

    Raises:
        SourceError, ParameterError: the map or the reference cannot be used.
        OutputError: a file cannot be written.
    """
    with gdal_environment():
        found = _read_map(job.path, context)
        reference = read_labels(job.reference.path, job.reference.field, job.reference.layer)
        mapped, outside = _mapped(found, reference, context)
    names, rows, columns = _pairs(found, reference, mapped)
    if not rows:
        raise ParameterError(
            f'none of the {len(reference.names)} references in "{reference.path}" lies on a class of the map',
            "",
            "check that both show the same place",
        )
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (rows, columns), 1)
    by_name = {name: found.areas.square_metres[value] for value, name in found.names.items()}
    result = agreement(counts, np.array([by_name.get(name, 0.0) for name in names]))
    warnings = _warnings(result, names, outside)
    for text in warnings:
        context.warn(text)
    outputs = {}
    if job.table is not None:
        outputs["table"] = _written(job.table, _csv(result, names))
    if job.picture is not None:
        outputs["picture"] = _written(job.picture, confusion_svg(counts, names, "map", "reference"))
    return {**_answer(result, names), "references": len(rows), "warnings": warnings, "outputs": outputs}


def design(job: DesignJob, context: Context) -> dict[str, Any]:
    """Draw a stratified random sample of a class map, to be looked at and labelled.

    Raises:
        SourceError, ParameterError: the map cannot be used, or the numbers make no sense.
        OutputError: the points cannot be written.
    """
    if not 1 <= job.points <= MOST_POINTS or job.least < 2:
        raise ParameterError(
            f"{job.points} points with at least {job.least} of each class make no sense",
            f"at least 2 of each class are needed for an interval, and {MOST_POINTS} points are the most",
        )
    if Path(job.output).exists():
        raise OutputError(f'"{job.output}" exists already', "", "choose another name: its labels may be worth much")
    with gdal_environment():
        found = _read_map(job.path, context)
        pixels = found.areas.pixels[found.values]
        wanted = np.minimum(allocation(found.areas.square_metres[found.values], job.points, job.least), pixels)
        generator = np.random.default_rng(job.seed)
        places = _drawn(found, dict(zip(found.values, wanted.tolist(), strict=True)), generator, context)
        order = generator.permutation(len(places))  # whoever labels must not see the strata one after the other
        points = [found.grid.transform @ (col + 0.5, row + 0.5) for _, row, col in (places[i] for i in order)]
        kinds: dict[str, type] = {"point": np.int32, "map": object, "reference": object}
        writer = GeoPackageWriter(job.output, LAYER, kinds, found.grid.crs, "Point")
        columns = {
            "point": np.arange(1, len(points) + 1, dtype=np.int32),
            "map": np.array([found.names[places[i][0]] for i in order], object),
            "reference": np.array([None] * len(points), object),
        }
        writer.write(shapely.points(points), columns)
        writer.close()
    drawn = {found.names[value]: int(count) for value, count in zip(found.values, wanted, strict=True)}
    return {"outputs": {"points": job.output}, "points": drawn}


def _read_map(path: str, context: Context) -> ClassMap:
    with open_raster(path) as dataset:
        if dataset.count != 1 or dataset.dtypes[0] != "uint8":
            raise SourceError(
                f'"{path}" is no class map',
                f"it has {dataset.count} band{'s' * (dataset.count != 1)} of {dataset.dtypes[0]}",
                "give a raster with one band of bytes",
            )
        if dataset.crs is None:
            raise SourceError(f'"{path}" has no CRS', "", "assign one and try again")
        grid = Grid(dataset.crs, dataset.transform, dataset.width, dataset.height)
        nodata = NO_NODATA if dataset.nodata is None else int(dataset.nodata)
    areas = class_areas(path, nodata, context.check)
    known = names_of(path)
    values = [int(value) for value in np.flatnonzero(areas.pixels)]
    if not values:
        raise SourceError(f'"{path}" holds nodata only')
    return ClassMap(path, grid, nodata, areas, {value: known.get(value, str(value)) for value in values})


def _mapped(found: ClassMap, reference: Labels, context: Context) -> tuple[list[int | None], int]:
    """The map's value at each reference, None where it has none; and how many lie off it."""
    values: list[int | None] = []
    with open_raster(found.path) as dataset:
        for _, rows, cols in reference.pixels(found.grid):
            context.check()
            values.append(_majority(dataset, rows, cols, found.nodata))
    return values, sum(value is None for value in values)


def _majority(dataset: rasterio.DatasetReader, rows: np.ndarray, cols: np.ndarray, nodata: int) -> int | None:
    if not len(rows):
        return None
    top, left = rows.min(), cols.min()
    block = dataset.read(1, window=RasterioWindow(left, top, cols.max() - left + 1, rows.max() - top + 1))
    values = block[rows - top, cols - left]
    values = values[values != nodata]
    return int(np.bincount(values).argmax()) if len(values) else None


def _pairs(found: ClassMap, reference: Labels, mapped: Sequence[int | None]) -> tuple[list[str], list[int], list[int]]:
    """Names of all classes of either side, and the place of each usable reference in the matrix."""
    by_key = {name.casefold(): name for name in found.names.values()}
    by_key |= {str(value): name for value, name in found.names.items() if str(value) not in by_key}
    said = [by_key.get(name.casefold(), name) for name in reference.names]
    kept = [(found.names[value], name) for value, name in zip(mapped, said, strict=True) if value is not None]
    names = [*found.names.values(), *sorted({name for _, name in kept} - set(found.names.values()))]
    return names, [names.index(one) for one, _ in kept], [names.index(other) for _, other in kept]


def _drawn(
    found: ClassMap, wanted: dict[int, int], generator: np.random.Generator, context: Context
) -> list[tuple[int, int, int]]:
    """Value, row and column of randomly chosen pixels of each class, without repetition: two passes over the map."""
    ranks = {
        value: np.sort(generator.choice(int(found.areas.pixels[value]), count, replace=False))
        for value, count in wanted.items()
    }
    seen = dict.fromkeys(wanted, 0)
    places = []
    with open_raster(found.path) as dataset:
        for top in range(0, found.grid.height, BLOCK):
            for left in range(0, found.grid.width, BLOCK):
                context.check()
                window = RasterioWindow(
                    left, top, min(BLOCK, found.grid.width - left), min(BLOCK, found.grid.height - top)
                )
                values = dataset.read(1, window=window)
                for value, chosen in ranks.items():
                    rows, cols = np.nonzero(values == value)
                    here = chosen[(chosen >= seen[value]) & (chosen < seen[value] + len(rows))] - seen[value]
                    places += [(value, top + int(rows[i]), left + int(cols[i])) for i in here]
                    seen[value] += len(rows)
    return places


def _warnings(result: Agreement, names: Sequence[str], outside: int) -> list[str]:
    found = []
    if outside:
        found.append(f"{outside} references lie where the map has no class, and do not count")
    bare = [
        name for name, of, area in zip(names, result.counts.sum(axis=1), result.mapped, strict=True) if area and of < 2
    ]
    if bare:
        found.append(
            f"fewer than two references lie where the map says {', '.join(bare)}: without them nothing can be said of "
            "the whole map"
        )
    absent = [name for name, area in zip(names, result.mapped, strict=True) if not area]
    if absent:
        found.append(f"the map has no {', '.join(absent)}")
    return found


def _answer(result: Agreement, names: Sequence[str]) -> dict[str, Any]:
    def one(estimate: Estimate, number: int, digits: int = 4) -> dict[str, float | None]:
        values = estimate.values[number], estimate.margins[number]
        return {key: _rounded(value, digits) for key, value in zip(("value", "margin"), values, strict=True)}

    return {
        "overall": {
            "value": _rounded(float(result.overall.values), 4),
            "margin": _rounded(float(result.overall.margins), 4),
        },
        "samples_right": round(result.samples_right, 4),
        "classes": [
            {
                "name": name,
                "users": one(result.users, number),
                "producers": one(result.producers, number),
                "area_m2": one(result.areas, number, 1),
                "mapped_m2": _rounded(float(result.mapped[number]), 1),
            }
            for number, name in enumerate(names)
        ],
        "counts": result.counts.tolist(),
    }


def _csv(result: Agreement, names: Sequence[str]) -> str:
    """The matrix with accuracies and areas, half widths of 95 % intervals beside them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["map \\ reference", *names, "total", "user's accuracy", "+-", "mapped m2"])
    for number, name in enumerate(names):
        row = result.counts[number]
        accuracy = _rounded(result.users.values[number], 4), _rounded(result.users.margins[number], 4)
        writer.writerow([name, *row.tolist(), int(row.sum()), *accuracy, _rounded(result.mapped[number], 1)])
    writer.writerow(["total", *result.counts.sum(axis=0).tolist(), int(result.counts.sum())])
    for title, estimate, digits in (
        ("producer's accuracy", result.producers, 4),
        ("adjusted area m2", result.areas, 1),
    ):
        writer.writerow([title, *(_rounded(value, digits) for value in estimate.values)])
        writer.writerow(["+-", *(_rounded(value, digits) for value in estimate.margins)])
    writer.writerow(
        [
            "overall accuracy",
            _rounded(float(result.overall.values), 4),
            "+-",
            _rounded(float(result.overall.margins), 4),
        ]
    )
    return text.getvalue()


def _written(path: str, text: str) -> str:
    part = f"{path}.part"
    try:
        Path(part).write_text(text, "utf-8")
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f'"{path}" cannot be written', error.strerror or str(error)) from error
    return path


def _rounded(value: float, digits: int) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None
