"""Raster files as they lie on disk: one file, one file per band, the tiles of a mosaic."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from backend.geo.source import BandInfo, DatasetInfo, describe, is_alpha
from backend.protocol.errors import ParameterError, SourceError
from backend.sensors import cubes, landsat, safe
from backend.sensors.catalogue import normal
from backend.sensors.dates import date_of, nearest
from backend.sensors.names import band_in_name, is_band_name
from backend.sensors.parts import Part, Parts, Problem, Product, problems_of
from backend.sensors.series import one_date, one_step
from backend.sensors.wavelengths import wavelengths

RASTER_SUFFIXES = (
    ".tif",
    ".tiff",
    ".jp2",
    ".vrt",
    ".img",
    ".png",
    ".jpg",
    ".jpeg",
    ".nc",
    ".bsq",
    ".bil",
    ".bip",
    ".dat",
    ".hdf",
    ".zarr",
)
_LARGEST_RATIO = 10.0  # of pixel sizes in one mosaic; tiles of one sensor at several zoom levels stay below
# "Band 1", "band_2", "b3": what programs write when nobody named the bands.
_DEFAULT_LABEL = re.compile(r"(?:band|b)[\s_-]?(\d+)|\d+")
_PRODUCT_FOLDER = re.compile(r"(S[12][ABC]_|L[COTEM]0[4-9]_)")
_LONGEST_NAME = 32_767  # the longest path of Windows, the most generous system; GDAL's own names are shorter
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
    longest = max(map(len, paths))
    if longest > _LONGEST_NAME:
        raise SourceError(
            f"a name of {longest} characters is no raster",
            "",
            "give the path of a file or another name that GDAL opens",
        )
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
        raise SourceError(
            f'the folder "{folder}" holds no raster',
            fix=f"name one of its folders: {', '.join(inside[:4])}" if inside else "",
        )
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
        return cubes.take_apart([info], date)
    parts = _parts(info)
    names, folders = _surroundings(info.path)
    product = _product([info])
    whole = Parts(
        "bands in one file", tuple(parts), (info,), names, folders, product=product, problems=problems_of([info])
    )
    return one_date(whole, date) or one_step(whole, date) or whole


def _several(infos: list[DatasetInfo], date: str | None, from_folder: bool) -> Parts:
    """Files whose bands differ are put side by side, files with the same bands are tiles of a mosaic."""
    if all(cubes.is_cube(info) for info in infos):
        return cubes.take_apart(infos, date)
    if any(cubes.is_cube(info) for info in infos):
        raise SourceError("NetCDF files cannot be combined with files of other formats", fix="name one or the other")
    groups, doubts = _grouped(infos, from_folder)
    dated = {info.path: _date_of_file(info) for group in groups for info in group}
    dates = sorted({stated for stated in dated.values() if stated})
    pairs = [pair for group in groups for pair in _same_place(group)]
    series = len(dates) > 1 and any(dated[one.path] != dated[other.path] for one, other in pairs)
    if pairs and not series:
        one, other = (Path(info.path).name for info in pairs[0])
        doubts.append(f"{one} and {other} cover the same ground; the first one counts")
    chosen = _choose(dates, date) if series else None
    if series:
        groups = [[info for info in group if dated[info.path] in (chosen, None)] for group in groups]
    groups = [group for group in groups if group]
    parts = [replace(part, paths=tuple(info.path for info in group)) for group in groups for part in _parts(group[0])]
    files = [info for group in groups for info in group]
    names = tuple(dict.fromkeys(Path(info.path).stem for info in files))[:64]
    return Parts(
        _layout_name(groups),
        tuple(parts),
        tuple(group[0] for group in groups),
        names,
        _surroundings(files[0].path)[1],
        tuple(dates) if series else (),
        chosen,
        _product(files),
        tuple(doubts),
        (*(problem for group in groups for problem in _too_different(group)), *problems_of(files)),
    )


def _choose(dates: list[str], date: str | None) -> str:
    """The date asked for, or the first one to stand for all."""
    if date is not None and date not in dates:
        raise ParameterError(
            f"no file is of the date {date}",
            f"there are {len(dates)} dates from {dates[0]} to {dates[-1]}",
            f"give ::date={nearest(dates, date)}, for example",
        )
    return date or dates[0]


def _layout_name(groups: list[list[DatasetInfo]]) -> str:
    if len(groups) == 1:
        return "mosaic" if len(groups[0]) > 1 else "bands in one file"
    return "one file per band" if all(group[0].count == 1 for group in groups) else "several files"


def _grouped(infos: list[DatasetInfo], from_folder: bool) -> tuple[list[list[DatasetInfo]], list[str]]:
    """Files by the bands they hold; in a folder, files without a known band are left out when others have some."""
    groups: dict[tuple[str, ...], list[DatasetInfo]] = {}
    for info in infos:
        groups.setdefault(_signature(info), []).append(info)
    known = {key: any(is_band_name(label) for label in key) for key in groups}
    if not from_folder or all(known.values()) or not any(known.values()):
        return list(groups.values()), []
    left = [Path(info.path).name for key, group in groups.items() if not known[key] for info in group]
    more = f" and {len(left) - 3} more" if len(left) > 3 else ""
    return [group for key, group in groups.items() if known[key]], [
        f"left out of the folder, no band known: {', '.join(left[:3])}{more}"
    ]


def _signature(info: DatasetInfo) -> tuple[str, ...]:
    """What a file holds, equal for tiles of one mosaic."""
    parts = _parts(info)
    labels = [normal(part.label) for part in parts]
    return tuple(labels) if any(labels) else (f"{len(parts)} bands",)


def _same_place(group: list[DatasetInfo]) -> list[tuple[DatasetInfo, DatasetInfo]]:
    """Pairs of files that cover the same ground, or have no place on Earth and so cannot be tiles."""
    return [
        (one, other)
        for one, other in combinations(group, 2)
        if (one.grid is None and other.grid is None)
        or (
            one.grid is not None
            and other.grid is not None
            and one.grid.crs == other.grid.crs
            and _shared(one.grid.bounds, other.grid.bounds) > _SAME_PLACE
        )
    ]


def _too_different(group: list[DatasetInfo]) -> list[Problem]:
    """A problem when files with the same bands cannot be tiles of one mosaic."""
    sizes = sorted(max(info.grid.pixel_size_m()) for info in group if info.grid is not None)
    if len(sizes) < 2 or sizes[-1] <= _LARGEST_RATIO * sizes[0]:
        return []
    return [Problem(f"the files are no tiles of one mosaic: their pixels measure {sizes[0]:.3g} to {sizes[-1]:.3g} m")]


def _shared(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """Common area of two boxes as a share of the smaller one."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return max(0.0, width) * max(0.0, height) / smaller if smaller > 0 else 0.0


def _parts(info: DatasetInfo) -> list[Part]:
    """The bands of a file without its alpha band, labelled by description, file name or colour."""
    bands = [band for band in info.bands if not is_alpha(band.colour, band.description)]
    labels = _labels(info, bands)
    waves = wavelengths(info)
    return [
        Part((info.path,), band.index, label, band, *waves.get(band.index, (None, None)))
        for band, label in zip(bands, labels, strict=True)
    ]


def _labels(info: DatasetInfo, bands: list[BandInfo]) -> list[str]:
    """What a file calls its bands; "" for bands that it does not name."""
    stated = [band.description.strip() or band.tags.get("", {}).get("BANDNAME", "") for band in bands]
    if not all(_is_default(label, band.index) for label, band in zip(stated, bands, strict=True)):
        return stated
    if len(bands) == 1:
        return [band_in_name(Path(info.path).stem)]
    colours = [band.colour for band in bands]
    return colours if sorted(colours) == ["blue", "green", "red"] else [""] * len(bands)


def _is_default(label: str, index: int) -> bool:
    """True for no label, and for "Band 3" or "b3" of the third band; a capital "B3" is an operator's name."""
    text = label.lower() if label.lower().startswith("band") else label
    match = _DEFAULT_LABEL.fullmatch(text)
    return not label or (match is not None and match[1] in (None, str(index)))


def _date_of_file(info: DatasetInfo) -> str | None:
    names, folders = _surroundings(info.path)
    return date_of(info.tags.get("", {}), [*names, *folders]).date


def _surroundings(path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """File name without its suffix, and names of the folders around it that count as evidence."""
    local = Path(path)
    near, *far = [parent.name for parent in local.absolute().parents][:3] or [""]
    # Names of satellite products are evidence even further up.
    folders = [near, *(name for name in far if _PRODUCT_FOLDER.match(name))]
    return (local.stem,), tuple(name for name in folders if name)


def _product(infos: Sequence[DatasetInfo]) -> Product | None:
    """Metadata of the product whose files these are: a Landsat MTL file beside them, or the SAFE folder around them."""
    first = Path(infos[0].path)
    if not first.exists():
        return None
    metadata = landsat.find_metadata(first)
    return landsat.read_metadata(metadata) if metadata else safe.product_around(first)
