"""Raster files as they lie on disk: one file, one file per band, the tiles of a mosaic, a series stacked in one file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from backend.geo.source import BandInfo, DatasetInfo, describe
from backend.protocol.errors import ParameterError, SourceError
from backend.sensors import cubes, landsat, safe
from backend.sensors.catalogue import catalogue, normal
from backend.sensors.dates import date_of, equal_periods, parse_date
from backend.sensors.parts import Part, Parts, Product
from backend.sensors.wavelengths import wavelengths

RASTER_SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt", ".img", ".png", ".jpg", ".jpeg", ".nc", ".bsq", ".bil", ".bip", ".dat", ".hdf", ".zarr")
_RESOLUTION = re.compile(r"[_-](10|20|30|60)m$", re.IGNORECASE)
# "Band 1", "band_2", "b3": what programs write when nobody named the bands.
_DEFAULT_LABEL = re.compile(r"(?:band|b)[\s_-]?(\d+)|\d+")
_SAME_PLACE = 0.5  # scenes whose boxes share more than half of the smaller one are dates of one place, not tiles


def take_apart(paths: Sequence[str], date: str | None) -> Parts:
    """The bands that the given names stand for, and what surrounds them.

    Args:
        paths: GDAL names, files or folders.
        date: ISO date that chooses among several.

    Raises:
        SourceError: a name cannot be opened.
        ParameterError: there is nothing of that date.
    """
    if not paths:
        raise SourceError("no raster was given")
    if len(paths) == 1:
        path = paths[0]
        if safe.is_safe(path):
            return safe.take_apart(path)
        if Path(path).is_dir():
            return _folder(Path(path), date)
        return _single(describe(path), date)
    return _several([describe(path) for path in paths], date, from_folder=False)


def _folder(folder: Path, date: str | None) -> Parts:
    """The rasters of a folder that belong together."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in RASTER_SUFFIXES)
    if not files:
        inside = sorted(path.name for path in folder.iterdir() if path.is_dir())
        raise SourceError(f'the folder "{folder}" holds no raster', fix=f"name one of its folders: {', '.join(inside[:4])}" if inside else "")
    headers, doubts = [], []
    for file in files:
        try:
            headers.append(describe(file.as_posix()))
        except SourceError as error:
            doubts.append(f"left out: {error.sentence()}")
    if not headers:
        raise SourceError(f'no raster of the folder "{folder}" can be opened', doubts[0])
    found = _several(headers, date, from_folder=True) if len(headers) > 1 else _single(headers[0], date)
    return replace(found, doubts=(*doubts, *found.doubts))


def _single(info: DatasetInfo, date: str | None) -> Parts:
    """The bands of one file, or of one date of a stacked series."""
    if cubes.is_cube(info):
        return cubes.take_apart(info, date)
    parts = _parts(info)
    names, folders = _surroundings(info.path)
    product = _product([info])
    problems = () if parts else _as_problem(info)
    whole = Parts("bands in one file", tuple(parts), (info,), names, folders, product=product, problems=problems)
    return _one_date(whole, date) or _one_step(whole, date) or whole


def _several(infos: list[DatasetInfo], date: str | None, from_folder: bool) -> Parts:
    """Files whose bands differ are put side by side, files with the same bands are tiles of a mosaic."""
    if any(cubes.is_cube(info) for info in infos):
        raise SourceError("NetCDF files cannot be combined with others", fix="name one NetCDF file")
    groups, doubts = _grouped(infos, from_folder)
    dated = {info.path: _date_of_file(info) for group in groups for info in group}
    dates = sorted({stated for stated in dated.values() if stated})
    series = len(dates) > 1 and any(_same_place(group, dated) for group in groups)
    if series and date is not None:
        if date not in dates:
            raise ParameterError(f"no file is of the date {date}", f"there are {len(dates)} dates from {dates[0]} to {dates[-1]}",
                                 f"give ::date={cubes.nearest(dates, date)}, for example")
        groups = [[info for info in group if dated[info.path] in (date, None)] for group in groups]
    elif series:
        groups = [[info for info in group if dated[info.path] in (dates[0], None)] for group in groups]
    groups = [group for group in groups if group]
    parts = [replace(part, paths=tuple(info.path for info in group)) for group in groups for part in _parts(group[0])]
    files = [info for group in groups for info in group]
    names = tuple(dict.fromkeys(Path(info.path).stem for info in files))[:64]
    chosen = date if series and date else (dates[0] if series else None)
    return Parts(
        _layout_name(groups), tuple(parts), tuple(group[0] for group in groups), names, _surroundings(files[0].path)[1],
        tuple(dates) if series else (), chosen, _product(files), tuple(doubts),
        tuple(problem for group in groups for info in group for problem in _as_problem(info)),
    )


def _layout_name(groups: list[list[DatasetInfo]]) -> str:
    if len(groups) == 1:
        return "mosaic" if len(groups[0]) > 1 else "bands in one file"
    return "one file per band" if all(group[0].count == 1 for group in groups) else "several files"


def _grouped(infos: list[DatasetInfo], from_folder: bool) -> tuple[list[list[DatasetInfo]], list[str]]:
    """Files by the bands they hold; in a folder, files without a known band are left out when others have some."""
    groups: dict[tuple[str, ...], list[DatasetInfo]] = {}
    for info in infos:
        groups.setdefault(_signature(info), []).append(info)
    known = {key: any(_known(label) for label in key) for key in groups}
    if not from_folder or all(known.values()) or not any(known.values()):
        return list(groups.values()), []
    left = [Path(info.path).name for key, group in groups.items() if not known[key] for info in group]
    more = f" and {len(left) - 3} more" if len(left) > 3 else ""
    return [group for key, group in groups.items() if known[key]], [f"left out of the folder, no band known: {', '.join(left[:3])}{more}"]


def _signature(info: DatasetInfo) -> tuple[str, ...]:
    """What a file holds, equal for tiles of one mosaic."""
    parts = _parts(info)
    labels = [normal(part.label) for part in parts]
    return tuple(labels) if any(labels) else (f"{len(parts)} bands",)


def _known(label: str) -> bool:
    return any(sensor.band(label) for sensor in catalogue().values())


def _same_place(group: list[DatasetInfo], dated: dict[str, str | None]) -> bool:
    """True when files of different dates cover the same ground."""
    placed = [(info.grid, dated[info.path]) for info in group if info.grid is not None]
    first = placed[:1]
    for grid, stated in placed:
        for other, date in first:
            if date != stated and grid.crs == other.crs and _shared(grid.bounds, other.bounds) > _SAME_PLACE:
                return True
    # Files without a place on Earth cannot be tiles of a mosaic.
    return not placed and len({date for date in dated.values() if date}) > 1


def _shared(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """Common area of two boxes as a share of the smaller one."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return max(0.0, width) * max(0.0, height) / smaller if smaller > 0 else 0.0


def _parts(info: DatasetInfo) -> list[Part]:
    """The bands of a file without its alpha band, labelled by description, file name or colour."""
    bands = [band for band in info.bands if not is_alpha(band)]
    labels = _labels(info, bands)
    waves = wavelengths(info)
    return [Part((info.path,), band.index, label, band, *waves.get(band.index, (None, None))) for band, label in zip(bands, labels, strict=True)]


def is_alpha(band: BandInfo) -> bool:
    """True for an alpha band; a fourth band that its description names otherwise was merely given that colour."""
    return band.colour == "alpha" and band.description.strip().lower() in ("", "alpha")


def _labels(info: DatasetInfo, bands: list[BandInfo]) -> list[str]:
    stated = [band.description.strip() or band.tags.get("", {}).get("BANDNAME", "") for band in bands]
    if all(match is not None and (match[1] in (None, str(band.index))) for match, band in
           ((_DEFAULT_LABEL.fullmatch(label.lower() if label.lower().startswith("band") else label), band) for label, band in zip(stated, bands, strict=True))):
        stated = [""] * len(bands)
    if any(stated):
        return stated
    if len(bands) == 1:
        return [band_in_name(Path(info.path).stem)]
    colours = [band.colour for band in bands]
    return colours if {"red", "green", "blue"} <= set(colours) and len(bands) == 3 else stated


def band_in_name(stem: str) -> str:
    """The band that the end of a file name states, as in "T31UFS_20220812T105031_B02_10m"; "" when it states none."""
    words = re.split(r"[_.\-\s]+", _RESOLUTION.sub("", stem))
    for label in ("_".join(words[-2:]), words[-1]):
        if len(words) > 1 and _known(label):
            return label
    return ""


def _one_date(whole: Parts, date: str | None) -> Parts | None:
    """A file whose bands are dates: the band of one date."""
    stated = [parse_date(part.label) or "" for part in whole.parts]
    if len(stated) < 2 or not all(stated):
        return None
    dates = tuple(sorted(set(stated)))
    if date is not None and date not in dates:
        raise ParameterError(f"the file holds no date {date}", f"it has {len(dates)} dates from {dates[0]} to {dates[-1]}",
                             f"give ::date={cubes.nearest(dates, date)}, for example")
    chosen = date or dates[0]
    part = whole.parts[stated.index(chosen)]
    label = band_in_name(Path(part.paths[0]).stem)
    return replace(whole, layout="series in one file", parts=(replace(part, label=label),), dates=dates, date=chosen)


def _one_step(whole: Parts, date: str | None) -> Parts | None:
    """A file in which the same bands repeat date after date: the bands of one step, and those that do not repeat."""
    base, steps = stacked([part.label for part in whole.parts])
    width = len(base)
    if steps < 2:
        return None
    dating = date_of(whole.tags(), [*whole.names, *whole.folders])
    periods = equal_periods(dating.period, steps) if dating.period else []
    step = 0
    if date is not None and periods:
        step = next((number for number, (first, after) in enumerate(periods) if first <= date < after), -1)
        if step < 0:
            raise ParameterError(f"the file holds no date {date}", f"its name states {periods[0][0]} to {periods[-1][1]}")
    doubt = f"the same {width} bands occur {steps} times, as in a stacked series"
    doubt += f"; taken for {steps} equal periods of {periods[0][0]} to {periods[-1][1]}, as its name states" if periods else "; its dates are not stated"
    chosen = [replace(part, label=label) for part, label in zip(whole.parts[step * width:(step + 1) * width], base, strict=True)]
    chosen += whole.parts[width * steps:]
    problems = () if periods else ("the dates of a stacked series are not stated; cut out one date first, for example with gdal_translate -b",)
    return replace(whole, layout="series in one file", parts=tuple(chosen), dates=tuple(first for first, _ in periods),
                   date=periods[step][0] if periods else None, doubts=(*whole.doubts, doubt), problems=(*whole.problems, *problems))


def stacked(labels: Sequence[str]) -> tuple[list[str], int]:
    """The labels of one step and the number of steps of a stacked series; no labels and 1 when it is none.

    Steps are told by plain repetition, or as Earth Engine does when it stacks images: "B4", "B4_1", ... or "0_B4", "1_B4", ...
    """
    if not labels or not all(labels):
        return [], 1
    bare = labels[0].removeprefix("0_")
    styles = (lambda label, step: label, lambda label, step: f"{label}_{step}" if step else label, lambda label, step: f"{step}_{label}")
    for style in styles:
        if style(bare, 1) not in labels[1:]:
            continue
        width = labels.index(style(bare, 1), 1)
        base = [label.removeprefix("0_") if style(bare, 0) != bare else label for label in labels[:width]]
        steps = 1
        while list(labels[steps * width:(steps + 1) * width]) == [style(label, steps) for label in base]:
            steps += 1
        if steps > 1:
            return base, steps
    return [], 1


def _date_of_file(info: DatasetInfo) -> str | None:
    names, folders = _surroundings(info.path)
    return date_of(info.tags.get("", {}), [*names, *folders]).date


def _surroundings(path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """File name without its suffix, and names of the two folders around it."""
    local = Path(path)
    folders = tuple(parent.name for parent in list(local.absolute().parents)[:2] if parent.name)
    return (local.stem,), folders[:1] if not folders[1:] or not safe_like(folders[1]) else folders


def safe_like(name: str) -> bool:
    """True for names of satellite products, which are evidence even two folders up."""
    return re.match(r"(S[12][ABC]_|L[COTEM]0[4-9]_)", name) is not None


def _product(infos: Sequence[DatasetInfo]) -> Product | None:
    """Metadata of a Landsat product whose MTL file lies beside the bands."""
    first = Path(infos[0].path)
    if not first.exists():
        return None
    metadata = landsat.find_metadata(first.parent, first.stem)
    return landsat.read_metadata(metadata) if metadata else None


def _as_problem(info: DatasetInfo) -> tuple[str, ...]:
    problem = info.problem()
    return (problem.sentence(),) if problem else ()
