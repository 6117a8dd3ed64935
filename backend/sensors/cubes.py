"""NetCDF cubes: every variable is a band, or bands run along a dimension; one date is chosen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from backend.geo.source import BandInfo, DatasetInfo, describe
from backend.protocol.errors import ParameterError
from backend.sensors.dates import cf_date, nearest
from backend.sensors.parts import Part, Parts, problems_of

_TIME_NAMES = ("t", "time", "date", "valid_time")
_BAND_NAMES = ("bands", "band", "variable", "wavelength", "wavelengths")
# Bounds, coordinates and grid mappings are variables too, but no bands.
_NO_BAND = re.compile(r"(_bnds|_bounds|^crs$|^spatial_ref$|^lat$|^lon$|^latitude$|^longitude$|^x$|^y$)", re.IGNORECASE)


def is_cube(info: DatasetInfo) -> bool:
    """True for a NetCDF file or one of its variables."""
    return info.driver.lower() == "netcdf"


def take_apart(infos: Sequence[DatasetInfo], date: str | None) -> Parts:
    """The bands of a cube at one date; without a date the first one stands for all.

    Args:
        infos: a NetCDF file, or some of its variables.
        date: ISO date.

    Raises:
        ParameterError: the cube has dates, but not this one.
    """
    variables = [variable for info in infos for variable in _variables(info)]
    dates = sorted({stated for variable in variables for stated in _dates(variable) if stated})
    if date is not None and dates and date not in dates:
        raise ParameterError(
            f"the cube holds no date {date}",
            f"it has {_spoken(dates)}",
            f"give ::date={nearest(dates, date)}, for example",
        )
    chosen = date if date is not None and dates else (dates[0] if dates else None)
    parts = [part for variable in variables for part in _bands(variable, chosen)]
    names_of_file = _file_names(infos[0].path)
    return Parts(
        "cube",
        tuple(parts),
        tuple(variables),
        names_of_file[:1],
        names_of_file[1:],
        tuple(dates) if len(dates) > 1 else (),
        chosen,
        doubts=_undeclared_nodata(variables),
        problems=problems_of(variables),
    )


def _variables(info: DatasetInfo) -> list[DatasetInfo]:
    """The variables of a file that may be bands; a variable itself."""
    if info.bands:
        return [info]
    return [describe(name) for name in info.subdatasets if not _NO_BAND.search(variable_of(name))]


def variable_of(name: str) -> str:
    """Variable of a GDAL name such as `netcdf:cube.nc:S2-L2A-B04`."""
    return name.rsplit(":", 1)[-1].strip('"/')


def _file_names(path: str) -> tuple[str, ...]:
    """Name of the file and of its folder, also for `netcdf:FILE:VARIABLE`."""
    match = re.match(r'netcdf:"?(.+?)"?:[^:/\\]+$', path, re.IGNORECASE)
    file = Path(match[1] if match else path)
    return (file.name, *(folder for folder in (file.parent.name,) if folder))


def _dates(variable: DatasetInfo) -> list[str | None]:
    """Date of every band of a variable; None for bands without a time."""
    return [_time(variable, band) for band in variable.bands]


def _time(variable: DatasetInfo, band: BandInfo) -> str | None:
    units = variable.tags.get("", {})
    items = {
        key.lower(): (key[len("NETCDF_DIM_") :], value)
        for key, value in band.tags.get("", {}).items()
        if key.startswith("NETCDF_DIM_")
    }
    for name in _TIME_NAMES:
        if f"netcdf_dim_{name}" in items:
            spelled, value = items[f"netcdf_dim_{name}"]
            return cf_date(value, units.get(f"{spelled}#units", ""))
    return None


def _bands(variable: DatasetInfo, date: str | None) -> list[Part]:
    """The bands of a variable at the date; bands without a time belong to every date."""
    found = []
    for band in variable.bands:
        time = _time(variable, band)
        if time is not None and time != date:
            continue
        items = band.tags.get("", {})
        along = next(
            (
                items[key]
                for key in items
                if key.startswith("NETCDF_DIM_") and key[len("NETCDF_DIM_") :].lower() in _BAND_NAMES
            ),
            "",
        )
        label = band.description or along or items.get("NETCDF_VARNAME", "") or variable_of(variable.path)
        found.append(Part((variable.path,), band.index, label, band))
    return found


def _undeclared_nodata(variables: list[DatasetInfo]) -> tuple[str, ...]:
    """A doubt on 16-bit openEO cubes: 65535 stands undeclared, so GDAL reports NetCDF's default fill value."""
    for variable in variables:
        tags = variable.tags.get("", {})
        silent = not any(key.endswith(("#_FillValue", "#missing_value")) for key in tags)
        if (
            silent
            and "openeo" in tags.get("NC_GLOBAL#institution", "").lower()
            and any(band.dtype == "uint16" for band in variable.bands)
        ):
            return (
                "the 16-bit variables declare no nodata value; openEO writes 65535 for it, "
                "give ::nodata=65535 if this cube does",
            )
    return ()


def _spoken(dates: list[str]) -> str:
    return f"{len(dates)} dates from {dates[0]} to {dates[-1]}" if len(dates) > 1 else f"only {dates[0]}"
