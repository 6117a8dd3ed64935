"""Which rasters of a series are used: those of the scene's place, and no more than the model takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from itertools import pairwise

from backend.geo.grid import Grid
from backend.geo.validity import valid_share
from backend.geo.warp import footprint
from backend.protocol.errors import InputError
from backend.sensors.selection import clear_dates, spread_dates
from backend.tasks.inputs import OPTIONS, TITLES, SlotInput


def arrange_series(inputs: Sequence[SlotInput]) -> tuple[SlotInput, ...]:
    """The inputs with their dates in order of time, without those that lie elsewhere or are too many.

    Whatever is left out is named in the notes of its input.

    Raises:
        InputError: a date that is not known or given twice, dates with different bands, too few dates of the place.
    """
    ordered = [_in_time(item) for item in inputs]
    scene = _near(ordered[0], _common_place(ordered)).grid
    return tuple(_chosen(_near(item, scene)) for item in ordered)


def _in_time(item: SlotInput) -> SlotInput:
    """The same rasters in order of time.

    Raises:
        InputError: they are no series.
    """
    if len(item.resolved) == 1:
        return item
    for spec, resolved in zip(item.specs, item.resolved, strict=True):
        if resolved.date is None:
            raise InputError(
                f'the date of "{spec.paths[0]}" is not known',
                "a time series needs one for every raster",
                "add ::date=YYYY-MM-DD to the path",
            )
        if resolved.present != item.present:
            raise InputError(
                f'"{spec.paths[0]}" has other bands than "{item.specs[0].paths[0]}"',
                "the dates of a series must have the same ones",
                "leave dates out, or name the bands to use with ::bands=",
            )
    ordered = item.keeping(sorted(range(len(item.resolved)), key=lambda index: str(item.resolved[index].date)))
    for (earlier, one), (later, other) in pairwise(zip(ordered.specs, ordered.resolved, strict=True)):
        if one.date == other.date:
            raise InputError(
                f'"{earlier.paths[0]}" and "{later.paths[0]}" are of the same date',
                str(one.date),
                'join the tiles of one date in one option, as in "a.tif|b.tif", or correct a date with ::date=',
            )
    return ordered


def _common_place(inputs: Sequence[SlotInput]) -> Grid:
    """The one of the main input's rasters that most others touch: a stray date does not decide where the scene is."""
    counts = Counter(resolved.source.grid for item in inputs for resolved in item.resolved)

    def touching(grid: Grid) -> int:
        return sum(count for other, count in counts.items() if _touch(grid, other))

    return max(dict.fromkeys(resolved.source.grid for resolved in inputs[0].resolved), key=touching)


def _near(item: SlotInput, scene: Grid) -> SlotInput:
    """The rasters that touch the scene; all of them when none does, which the search for a common grid refuses."""
    near = [index for index, resolved in enumerate(item.resolved) if _touch(scene, resolved.source.grid)]
    far = [spec.paths[0] for index, spec in enumerate(item.specs) if index not in near]
    if not near or not far:
        return item
    names, lie = " and ".join(f'"{name}"' for name in far), "lies" if len(far) == 1 else "lie"
    if len(near) < item.slot.dates[0]:
        raise InputError(
            f"the {TITLES[item.slot.modality]} input has too few dates of this place",
            f"{names} {lie} elsewhere than the main input, and the model takes at least {item.slot.dates[0]}",
            f"give {OPTIONS[item.slot.modality]} rasters of the same place",
        )
    return item.keeping(near, f"{names} {lie} outside the scene and {'is' if len(far) == 1 else 'are'} left out")


def _touch(scene: Grid, other: Grid) -> bool:
    return not footprint(scene, other).intersect(scene.window).empty


def _chosen(item: SlotInput) -> SlotInput:
    """As many dates as the model takes: optical ones by their gaps, radar spread in time (skysense-v2.md, 8)."""
    most, given = item.slot.dates[1], len(item.resolved)
    if given <= most:
        return item
    days = [date.fromisoformat(str(resolved.date)[:10]) for resolved in item.resolved]
    if item.slot.modality == "sar":
        kept, how = spread_dates([day.toordinal() for day in days], most), "spread over the period"
    else:
        shares = [valid_share(resolved.source) for resolved in item.resolved]
        kept, cloudy = clear_dates([day.timetuple().tm_yday for day in days], shares, most)
        how = "the one with most data" if cloudy else "the most complete of each part of the year"
    names = ", ".join(days[index].isoformat() for index in kept)
    return item.keeping(
        kept,
        f"of {given} {TITLES[item.slot.modality]} dates the model takes {most} at most: {names} are used, {how}",
    )
