"""Samples from a user's own rasters: those of a folder that show the same ground are the images of one scene.

An image is a raster file, a Sentinel-2 product (folder or zip), or a folder with a file for each band or the tiles of a
mosaic. Where a folder holds no image itself, every folder in it is read by itself. What an image is, its metadata say;
images of other kinds than SkySense V2 takes are left out, and the log says so.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from backend.geo.grid import Grid, reproject_bounds
from backend.protocol.errors import GridError, InputError
from backend.protocol.jobs import InputSpec
from backend.sensors.catalogue import get
from backend.sensors.files import RASTER_SUFFIXES
from backend.sensors.inspect import Inspection, inspect
from backend.sensors.safe import is_safe
from backend.train.data.readers.names import key_of
from backend.train.data.readers.pictures import picture
from backend.train.data.sample import Sample
from backend.train.data.scene import SKYSENSE_V2, Scene, tiles

LOG = logging.getLogger(__name__)
# Pixels of a sample's side: 64 of Sentinel (skysense-v2.md, 1), and what its crops need where there are pictures alone.
SENTINEL_PX, PICTURE_PX = 64, 512
SAME_GROUND = 0.5  # of the smaller image: less is a neighbour's overlap


@dataclass
class Group:
    """Images of the same ground.

    Attributes:
        name: begin of the samples' keys.
        grid: of the first image; None where it has no place on Earth, and so is alone.
        images: by kind, one specification for every date.
    """

    name: str
    grid: Grid | None
    images: dict[str, list[InputSpec]] = field(default_factory=lambda: defaultdict(list))


def scenes(folder: Path, size: int = 0, most: int = 0, options: InputSpec | None = None) -> Iterator[Sample]:
    """Samples of every scene of a folder.

    Args:
        folder: images, or folders of images.
        size: pixels of a sample's side, in pixels of the image that sets the scene's grid; 0 for the usual number.
        most: samples of a scene, spread evenly over it; 0 for all.
        options: what metadata leave open, the same for all images.

    Raises:
        SourceError: an image cannot be opened.
        InputError: there is no image, or metadata leave open what its numbers mean.
    """
    found = _images_in(folder)
    inner = [] if found else sorted(path for path in folder.iterdir() if path.is_dir())
    folders = {folder.resolve().name: found} if found else {path.name: _images_in(path) for path in inner}
    if not any(folders.values()):
        raise InputError(f"{folder} holds no rasters", "", "name a folder of rasters, or one of such folders")
    for name, paths in folders.items():
        for group in grouped(name, paths, options):
            yield from _samples(group, size, most)


def cut(name: str, images: Mapping[str, Sequence[InputSpec]], size: int = 0, most: int = 0) -> Iterator[Sample]:
    """Samples of one scene.

    Args:
        name: of the scene, the begin of the samples' keys.
        images: by kind, one specification for every date.
        size, most: see `scenes`.
    """
    usual = PICTURE_PX if list(images) == ["hr"] else SENTINEL_PX
    with Scene(images) as scene:
        for window in tiles(scene.grid, size or usual, most):
            sample = scene.sample(key_of(name, window.row, window.col), window)
            if sample is not None:
                yield sample


def grouped(name: str, paths: Sequence[Path], options: InputSpec | None = None) -> list[Group]:
    """Images by the ground that they show; within a group by the kind of their sensor and by date.

    Args:
        name: of the scene; several are told apart by the name of their first image.
        paths: the images.
        options: see `scenes`.
    """
    found: list[Group] = []
    for path in paths:
        for spec, seen in _described(path, options):
            group = next((group for group in found if _same_ground(group.grid, seen.grid)), None)
            if group is None:
                group = Group(key_of(name, path.stem), seen.grid)
                found.append(group)
            group.images[spec.modality].append(spec)
    if len(found) == 1:
        found[0].name = key_of(name)
    return found


def _samples(group: Group, size: int, most: int) -> Iterator[Sample]:
    if group.grid is None and list(group.images) == ["hr"]:
        yield picture(group.name, Path(group.images["hr"][0].paths[0]))
        return
    yield from cut(group.name, group.images, size, most)


def _described(path: Path, options: InputSpec | None) -> Iterator[tuple[InputSpec, Inspection]]:
    """Every date of an image, with what is known of it; nothing of what is left out."""
    spec = replace(options or InputSpec("", ()), paths=(path.as_posix(),))
    seen = inspect(spec.paths, spec)
    kind = get(seen.sensor).modality if seen.sensor else ""
    if kind not in SKYSENSE_V2:
        LOG.warning("left out: %s (%s)", path, f"an image of {seen.sensor}" if kind else "its sensor is not known")
        return
    if path.is_dir() and len(seen.dates) > 1 and seen.layout == "bands in one file":
        for file in sorted(filter(_is_image, path.iterdir())):  # each file is a date
            yield from _described(file, options)
        return
    for date in seen.dates if len(seen.dates) > 1 else (spec.date,):
        yield replace(spec, modality=kind, date=date), seen


def _same_ground(one: Grid | None, other: Grid | None) -> bool:
    """Whether one image covers most of the other."""
    if one is None or other is None:
        return False
    try:
        mine, theirs = one.bounds, reproject_bounds(other.bounds, other.crs, one.crs)
    except GridError:  # too far away to be expressed in the same CRS
        return False
    width = min(mine[2], theirs[2]) - max(mine[0], theirs[0])
    height = min(mine[3], theirs[3]) - max(mine[1], theirs[1])
    smaller = min((right - left) * (top - bottom) for left, bottom, right, top in (mine, theirs))
    return width > 0 and height > 0 and width * height > SAME_GROUND * smaller


def _images_in(folder: Path) -> list[Path]:
    """Raster files, products, and folders that hold files of bands, tiles or dates."""
    inside = sorted(folder.iterdir())
    files = [path for path in inside if _is_image(path)]
    products = [path for path in inside if not _is_image(path) and is_safe(str(path))]
    rest = [path for path in inside if path.is_dir() and path not in products]
    if not files and not products:
        return []
    return [*files, *products, *(path for path in rest if any(map(_is_image, path.iterdir())))]


def _is_image(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in RASTER_SUFFIXES
