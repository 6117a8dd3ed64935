"""Acquisition dates from metadata items and from names of products, files and folders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

# Metadata items that state when the scene was taken, best first; in lower case, without "NC_GLOBAL#" and the like.
ACQUISITION_TAGS = (
    "acquisition_date",
    "date_acquired",
    "acquisitiondatetime",
    "acquisitiondate",
    "datatake_1_datatake_sensing_start",
    "product_start_time",
    "start_datetime",
    "acquisition_time",
    "acquisition time",
    "sensing_time",
    "firstlinetime",
    "sceneacquisitiondate",
    "datetime",
    "date",
)
# The TIFF item says when the file was written or the picture taken; writers disagree.
WRITING_TAGS = ("tifftag_datetime",)
_CALENDAR = re.compile(r"(?<![0-9])((?:19|20)[0-9]{2})([-_.:]?)(0[1-9]|1[0-2])\2(0[1-9]|[12][0-9]|3[01])(?![0-9])")
_DAY_OF_YEAR = re.compile(r"(?:(?<=\.A)|(?<=\.))((?:19|20)[0-9]{2})([0-3][0-9]{2})(?=[^0-9]|$)")
_OLD_LANDSAT = re.compile(r"L[COTEM][4-9][0-9]{6}((?:19|20)[0-9]{2})([0-3][0-9]{2})[A-Z]{3}[0-9]{2}")
_YEAR = re.compile(r"(?<![0-9])((?:19|20)[0-9]{2})(?![0-9])")
# In these product names the first date is the acquisition, later ones are processing dates.
_PRODUCT = re.compile(r"S[12][ABC]_|L[COTEM]0[4-9]_|_3[AB]_|S2[ABC]_OPER")


@dataclass(frozen=True)
class Dating:
    """What is known of the time of a scene.

    Attributes:
        date: ISO date of the acquisition, None when it is not known.
        period: first and last ISO date where names state a period.
        origin: where it was found.
        doubt: what is unsure, "" when nothing is.
    """

    date: str | None = None
    period: tuple[str, str] | None = None
    origin: str = ""
    doubt: str = ""


def dates_in(text: str) -> list[str]:
    """ISO dates that a name states, in their order: calendar dates, and year with day of the year in product names."""
    found: list[tuple[int, str]] = []
    for match in _CALENDAR.finditer(text):
        stated = _calendar(int(match[1]), int(match[3]), int(match[4]))
        if stated:
            found.append((match.start(), stated))
    for pattern in (_DAY_OF_YEAR, _OLD_LANDSAT):
        for match in pattern.finditer(text):
            stated = _day_of_year(int(match[1]), int(match[2]))
            if stated:
                found.append((match.start(), stated))
    return [stated for _, stated in sorted(found)]


def date_of(tags: Mapping[str, str], names: Iterable[str]) -> Dating:
    """The acquisition date from metadata items, else from names (file first, then folders).

    Args:
        tags: metadata items of the dataset.
        names: file name, then names of the folders around it.
    """
    items = {key.rsplit("#", 1)[-1].lower(): value for key, value in tags.items()}
    for key in ACQUISITION_TAGS:
        stated = dates_in(items.get(key, ""))
        if stated:
            return Dating(stated[0], origin=f"metadata item {key}")
    year = items.get("year", "")
    for name in names:
        stated = dates_in(name)
        if len(set(stated)) == 1 or (stated and _PRODUCT.search(name)):
            return Dating(stated[0], origin=f'name "{name}"')
        if stated:
            return Dating(
                period=(min(stated), max(stated)),
                origin=f'name "{name}"',
                doubt=f'the name "{name}" states a period, {min(stated)} to {max(stated)}, no single date',
            )
        if not year and _YEAR.search(name):
            year = _YEAR.findall(name)[0]
    for key in WRITING_TAGS:
        stated = dates_in(items.get(key, ""))
        if stated:
            return Dating(
                stated[0],
                origin=f"metadata item {key}",
                doubt=f"the date {stated[0]} is that of the TIFF file, perhaps not the acquisition",
            )
    if year:
        return Dating(doubt=f"only the year is stated ({year}); give ::date=YYYY-MM-DD where the day matters")
    return Dating()


def contradiction(date: str, stated: Dating) -> str:
    """Words on a date that differs from the one stated elsewhere; "" where that one agrees or is itself unsure.

    Args:
        date: the user's, YYYY-MM-DD.
        stated: what metadata and names say.
    """
    if stated.period is not None:
        first, last = stated.period
        agrees, other = first <= date <= last, f"{first} to {last}"
    elif stated.date is not None and not stated.doubt:
        agrees, other = date == stated.date[:10], stated.date[:10]
    else:
        return ""
    return "" if agrees else f"::date={date} counts, although {stated.origin} states {other}"


def parse_date(text: str) -> str | None:
    """The ISO date of "2023-04-03", "2023-04-03T10:50:31Z" or "20230403"; None when the text is no date."""
    match = re.fullmatch(r"(\d{4})-?(\d\d)-?(\d\d)(T.*)?", text.strip())
    return _calendar(int(match[1]), int(match[2]), int(match[3])) if match else None


def cf_date(value: str, units: str) -> str | None:
    """ISO date of a CF time coordinate, such as 12145 "days since 1990-01-01"; None when it cannot be read.

    Source: CF conventions 1.9, section 4.4.
    """
    match = re.match(r"\s*(seconds?|minutes?|hours?|days?)\s+since\s+(\d{4})-(\d{1,2})-(\d{1,2})", units)
    try:
        number = float(value)
    except ValueError:
        return parse_date(value)
    if match is None:
        return None
    per_day = {"second": 86_400, "minute": 1440, "hour": 24, "day": 1}[match[1].rstrip("s")]
    start = date(int(match[2]), int(match[3]), int(match[4]))
    return (start + timedelta(days=number / per_day)).isoformat()


def equal_periods(period: tuple[str, str], count: int) -> list[tuple[str, str]]:
    """First days and following first days when a period is cut into equal parts."""
    start, end = (date.fromisoformat(text) for text in period)
    days = (end - start).days
    edges = [start + timedelta(days=round(days * step / count)) for step in range(count + 1)]
    return [(a.isoformat(), b.isoformat()) for a, b in zip(edges, edges[1:], strict=False)]


def nearest(dates: list[str] | tuple[str, ...], wanted: str) -> str:
    """The date of a list that is closest to another."""
    day = date.fromisoformat(wanted)
    return min(dates, key=lambda text: abs((date.fromisoformat(text) - day).days))


def _calendar(year: int, month: int, day: int) -> str | None:
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None


def _day_of_year(year: int, day: int) -> str | None:
    if not 1 <= day <= 366:
        return None
    found = date(year, 1, 1) + timedelta(days=day - 1)
    return found.isoformat() if found.year == year else None
