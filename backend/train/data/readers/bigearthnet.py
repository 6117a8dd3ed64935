"""BigEarthNet as downloaded: patches of 1.2 km, a folder each with a file for each band, by Sentinel-2 and Sentinel-1.

Where both are there they make one sample. Version 1 names the partner in the radar patch's JSON file; the patches of
version 2 share the end of their names, `T33UUP_26_57`, and of several dates the nearest is the partner.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from backend.protocol.errors import InputError
from backend.protocol.jobs import InputSpec
from backend.train.data.readers.names import key_of
from backend.train.data.sample import Sample
from backend.train.data.scene import Scene

LABELS = "_labels_metadata.json"
# Reflectance x 10 000 without an offset, in both versions: the mean of B02 published for either is below 500, which
# numbers with the offset of processing baseline 04.00 would exceed twice. Version 2 calls its baseline 99.99.
DIGITAL: dict[str, Any] = {"unit": "reflectance", "offset": 0.0, "scale": 1e-4}
_PLACE = re.compile(r"_T?(\d\d[A-Z]{3}_\d+_\d+)$")
_TIME = re.compile(r"_(\d{8}T\d{6})(?=_)")


def patches(folder: Path) -> Iterator[Sample]:
    """One sample for every Sentinel-2 patch, with its radar partner where there is one.

    Args:
        folder: holds the patches at any depth.

    Raises:
        InputError: there is no patch.
        SourceError: a patch is not complete.
    """
    optical = sorted(file.parent for file in folder.rglob("S2*_B02.tif"))
    if not optical:
        raise InputError(f"{folder} holds no BigEarthNet patches", "", "name the folder of the extracted archives")
    named, placed = _partners(sorted(file.parent for file in folder.rglob("S1*_VV.tif")))
    for patch in optical:
        radar = named.get(patch.name) or _nearest(patch.name, placed)
        images = {"ms": [InputSpec("ms", (patch.as_posix(),), **DIGITAL)]}
        if radar is not None:
            images["sar"] = [InputSpec("sar", (radar.as_posix(),))]
        with Scene(images) as scene:
            sample = scene.sample(key_of("bigearthnet", patch.name), scene.grid.window, _labels(patch))
        if sample is not None:
            yield sample


def _partners(radar: Sequence[Path]) -> tuple[dict[str, Path], dict[str, list[Path]]]:
    """Radar patches by the optical patch that they name, and the others by place."""
    named, placed = dict[str, Path](), defaultdict[str, list[Path]](list)
    for patch in radar:
        about = patch / f"{patch.name}{LABELS}"
        partner = json.loads(about.read_text("utf-8")).get("corresponding_s2_patch") if about.is_file() else None
        place = _PLACE.search(patch.name)
        if partner:
            named[partner] = patch
        elif place:
            placed[place[1]].append(patch)
    return named, placed


def _nearest(name: str, placed: Mapping[str, Sequence[Path]]) -> Path | None:
    """The radar patch of the same place that was taken nearest in time."""
    place = _PLACE.search(name)
    candidates = placed.get(place[1], ()) if place else ()
    return min(candidates, key=lambda path: abs(_time(path.name) - _time(name)), default=None)


def _time(name: str) -> datetime:
    stated = _TIME.search(name)
    if stated is None:
        raise InputError(f'"{name}" is no name of a BigEarthNet patch', "it states no time")
    return datetime.strptime(stated[1], "%Y%m%dT%H%M%S")


def _labels(patch: Path) -> dict[str, str]:
    """Classes of version 1, joined by |."""
    about = patch / f"{patch.name}{LABELS}"
    return {"labels": "|".join(json.loads(about.read_text("utf-8"))["labels"])} if about.is_file() else {}
