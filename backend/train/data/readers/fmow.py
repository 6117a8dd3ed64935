"""Functional Map of the World in red, green and blue as downloaded: the images of an object are the dates of a series.

The layout is `CLASS/CLASS_17/CLASS_17_0_rgb.jpg` with a JSON file of the same name beside each image, at any depth. A
JPEG has no place on Earth, and the images of an object have different outlines; what they have in common is the
object's box, in pixels (`bounding_boxes`: left, top, width, height) and where stated in degrees (`raw_location`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely

from backend.protocol.errors import InputError
from backend.train.data.readers.names import key_of
from backend.train.data.readers.pictures import AERIAL, COLOURS, read_picture
from backend.train.data.resample import Box, resampled
from backend.train.data.sample import Place, Sample, Series

CRS = "EPSG:4326"
LARGEST_PX = 512  # of a sample's side, as much as the crops need


class Dated(NamedTuple):
    """An image of an object.

    Attributes:
        pixels, valid: 3 x H x W uint8, H x W bool.
        box: the object's, as shares of the image.
        ground: the same in degrees, left, bottom, right, top; None where it is not stated.
        day: ISO date.
    """

    pixels: np.ndarray
    valid: np.ndarray
    box: Box
    ground: tuple[float, float, float, float] | None
    day: str


def places(folder: Path) -> Iterator[Sample]:
    """One sample for every object: its box with as much around it as all its images show, in all their dates.

    Args:
        folder: the data set, or a part of it.

    Raises:
        InputError: there is no image, or what a JSON file says of one cannot be used.
        SourceError: an image cannot be read.
    """
    found = sorted(folder.rglob("*_rgb.jpg"))
    if not found:
        raise InputError(f"{folder} holds no fMoW images", "their names end in _rgb.jpg", "name the folder of a split")
    for place, paths in groupby(found, key=lambda path: path.parent):
        yield _sample(place, sorted((_read(path) for path in paths), key=lambda image: image.day))


def _read(path: Path) -> Dated:
    pixels, valid = read_picture(path)
    about = path.with_suffix(".json")
    try:
        told = json.loads(about.read_text("utf-8"))
        boxes = told["bounding_boxes"]
        first = boxes if isinstance(boxes, dict) else boxes[0]
        left, top, width, height = map(float, first["box"])
        outline = first.get("raw_location")
        ground = shapely.from_wkt(outline).bounds if outline else None
        day = str(told["timestamp"])[:10]
    except (OSError, ValueError, KeyError, IndexError, TypeError, shapely.errors.GEOSException) as error:
        raise InputError(f"{about} cannot be used", str(error)[:200], "download it again") from error
    rows, columns = valid.shape
    box = (left / columns, top / rows, (left + width) / columns, (top + height) / rows)
    if not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
        raise InputError(f"{about} cannot be used", "the object's box does not lie in the image", "leave the image out")
    return Dated(pixels, valid, box, ground, day)


def _sample(place: Path, images: Sequence[Dated]) -> Sample:
    factor = min(_room(image.box) for image in images)
    boxes = [_grown(image.box, factor) for image in images]
    finest = max((box[3] - box[1]) * image.valid.shape[0] for box, image in zip(boxes, images, strict=True))
    size = max(1, min(LARGEST_PX, round(finest)))
    parts = [
        resampled(image.pixels[None], image.valid[None], box, size) for box, image in zip(boxes, images, strict=True)
    ]
    pixels = np.concatenate([np.rint(part.values).astype(np.uint8) for part in parts])
    series = Series(
        AERIAL, COLOURS, pixels, np.concatenate([part.valid for part in parts]), tuple(one.day for one in images)
    )
    grounds = [image.ground for image in images if image.ground is not None]
    here = Place(CRS, _grown(grounds[0], factor)) if grounds else Place("", (0.0, 0.0, float(size), float(size)))
    return Sample(key_of("fmow", place.name), here, {"hr": series}, labels={"class": place.parent.name})


def _room(box: Box) -> float:
    """How many times as large a box may get around its centre before it leaves the image; 1 at least."""
    spans = ((box[0], box[2]), (box[1], box[3]))
    sides = [min(low + high, 2 - low - high) / (high - low) for low, high in spans]
    return max(1.0, min(sides))


def _grown(box: Box, factor: float) -> Box:
    """A box that many times as large around its centre."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    width, height = factor * (box[2] - box[0]) / 2, factor * (box[3] - box[1]) / 2
    return x - width, y - height, x + width, y + height
