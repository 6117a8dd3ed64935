"""Series stacked in one file: a band per date, or the same bands date after date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from backend.protocol.errors import ParameterError
from backend.sensors.dates import date_of, equal_periods, nearest, parse_date
from backend.sensors.names import band_in_name
from backend.sensors.parts import Parts, Problem


def one_date(whole: Parts, date: str | None) -> Parts | None:
    """A file whose bands are dates: the band of one date."""
    stated = [parse_date(part.label) or "" for part in whole.parts]
    if len(stated) < 2 or not all(stated):
        return None
    dates = tuple(sorted(set(stated)))
    if date is not None and date not in dates:
        raise ParameterError(
            f"the file holds no date {date}",
            f"it has {len(dates)} dates from {dates[0]} to {dates[-1]}",
            f"give ::date={nearest(dates, date)}, for example",
        )
    chosen = date or dates[0]
    part = whole.parts[stated.index(chosen)]
    label = band_in_name(Path(part.paths[0]).stem)
    return replace(whole, layout="series in one file", parts=(replace(part, label=label),), dates=dates, date=chosen)


def one_step(whole: Parts, date: str | None) -> Parts | None:
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
            raise ParameterError(
                f"the file holds no date {date}", f"its name states {periods[0][0]} to {periods[-1][1]}"
            )
    doubt = f"the same {width} bands occur {steps} times, as in a stacked series"
    doubt += (
        f"; taken for {steps} equal periods of {periods[0][0]} to {periods[-1][1]}, as its name states"
        if periods
        else "; its dates are not stated"
    )
    chosen = [
        replace(part, label=label)
        for part, label in zip(whole.parts[step * width : (step + 1) * width], base, strict=True)
    ]
    chosen += whole.parts[width * steps :]
    problems = (
        ()
        if periods
        else (
            Problem(
                "the dates of a stacked series are not stated; cut out one date first, "
                "for example with gdal_translate -b"
            ),
        )
    )
    return replace(
        whole,
        layout="series in one file",
        parts=tuple(chosen),
        dates=tuple(first for first, _ in periods),
        date=periods[step][0] if periods else None,
        doubts=(*whole.doubts, doubt),
        problems=(*whole.problems, *problems),
    )


def stacked(labels: Sequence[str]) -> tuple[list[str], int]:
    """The labels of one step and the number of steps of a stacked series; no labels and 1 when it is none.

    Steps are told by plain repetition, or as Earth Engine does when it stacks images: "B4", "B4_1" or "0_B4", "1_B4".
    """
    if not labels or not all(labels):
        return [], 1
    bare = labels[0].removeprefix("0_")
    styles = (
        lambda label, step: label,
        lambda label, step: f"{label}_{step}" if step else label,
        lambda label, step: f"{step}_{label}",
    )
    for style in styles:
        if style(bare, 1) not in labels[1:]:
            continue
        width = labels.index(style(bare, 1), 1)
        base = [label.removeprefix("0_") if style(bare, 0) != bare else label for label in labels[:width]]
        steps = 1
        while list(labels[steps * width : (steps + 1) * width]) == [style(label, steps) for label in base]:
            steps += 1
        if steps > 1:
            return base, steps
    return [], 1
