"""A result described as a STAC Item, so that catalogues and other programs know what its files are.

Source of all names: STAC Item specification 1.1.0 and the extensions listed in `EXTENSIONS`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timezone
from typing import Any

import numpy as np
import shapely
from rasterio.crs import CRS
from rasterio.warp import transform

from backend.geo.grid import WGS84, Grid
from backend.geo.writer import Legend, RasterProfile
from backend.protocol.errors import GridError, ParameterError

STAC_VERSION = "1.1.0"
EXTENSIONS = (
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
)
MLM = "https://stac-extensions.github.io/mlm/v1.5.0/schema.json"

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
GEOPACKAGE = "application/geopackage+sqlite3"
JSON = "application/json"
_OUTLINE_POINTS = 32
_DIGITS = 9  # of degrees: a tenth of a millimetre


@dataclass(frozen=True)
class Asset:
    """One file of a result.

    Attributes:
        href: its place, relative to the item's file.
        title: for people.
        media_type: `COG`, `GEOPACKAGE` or `JSON`.
        roles: "data" for maps and polygons, "metadata" for the run description.
        profile: what the bands of a raster mean; None for other files.
        legend: classes of a file of polygons; a raster's come from its profile.
    """

    href: str
    title: str
    media_type: str
    roles: tuple[str, ...] = ("data",)
    profile: RasterProfile | None = None
    legend: Legend | None = None


@dataclass(frozen=True)
class ModelLink:
    """The model that made the result: its `model.json` is a STAC Item too.

    Attributes:
        href: URL or path of the model.
        name: as in the model package.
    """

    href: str
    name: str


@dataclass(frozen=True)
class Origin:
    """How a result came about.

    Attributes:
        dates: of the inputs, as dates, times or ISO 8601 text; times without a zone are UTC.
        software: version by name.
        lineage: one sentence for people.
        models: the models used.
        made: when the result was made; stands in when no input has a date.
    """

    dates: Sequence[date | datetime | str]
    software: Mapping[str, str] = field(default_factory=dict)
    lineage: str = ""
    models: Sequence[ModelLink] = ()
    made: datetime | None = None


def stac_item(
    identifier: str,
    grid: Grid,
    assets: Mapping[str, Asset],
    origin: Origin,
    footprint: shapely.Geometry | None = None,
) -> dict[str, Any]:
    """The item of a result; the same arguments always give the same item.

    Args:
        identifier: of the item, unique in its catalogue.
        grid: of the rasters.
        assets: files by key.
        origin: how the result came about.
        footprint: polygon of the valid area in the grid's CRS; None for the whole grid.

    Raises:
        GridError: when the footprint crosses the antimeridian, holds a pole or leaves the CRS's domain.
        ParameterError: when a date cannot be read, or no date is known at all.
    """
    outline = footprint_wgs84(grid, footprint)
    extensions = EXTENSIONS + ((MLM,) if origin.models else ())
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": list(extensions),
        "id": identifier,
        "geometry": _geojson(outline),
        "bbox": [round(value, _DIGITS) for value in outline.bounds],
        "properties": {**_times(origin), **_projection(grid), **_processing(origin)},
        "links": [_model_link(model) for model in origin.models],
        "assets": {key: _asset(asset, grid) for key, asset in assets.items()},
    }


def footprint_wgs84(grid: Grid, footprint: shapely.Geometry | None = None) -> shapely.Geometry:
    """The outline of a grid, or of a polygon in its CRS, in longitude and latitude; edges follow the CRS.

    Raises:
        GridError: when it crosses the antimeridian, holds a pole or leaves the CRS's domain.
    """
    if footprint is None:
        corners = ((0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height))
        footprint = shapely.Polygon([grid.transform @ corner for corner in corners])
    left, bottom, right, top = footprint.bounds
    dense = shapely.segmentize(footprint, max(right - left, top - bottom) / _OUTLINE_POINTS)
    points = _degrees(shapely.get_coordinates(dense), grid.crs)
    outline = shapely.set_coordinates(dense, points)
    for ring in shapely.get_rings(shapely.get_parts(outline)):
        if (np.abs(np.diff(shapely.get_coordinates(ring)[:, 0])) > 180).any():
            raise _antimeridian()
    return shapely.orient_polygons(shapely.make_valid(outline))


def _degrees(points: np.ndarray, crs: CRS) -> np.ndarray:
    """Points (N, 2) as longitude and latitude."""
    if crs != WGS84:
        points = np.stack(transform(crs, WGS84, points[:, 0], points[:, 1]), axis=1)
    if not np.isfinite(points).all():
        raise GridError("the result's place on the Earth cannot be computed", "it lies outside the CRS's domain of use")
    if points[:, 0].min() >= 180:  # longitudes that count from 0 to 360
        points = points - (360.0, 0.0)
    if points[:, 0].max() > 180 or points[:, 0].min() < -180:
        raise _antimeridian()
    return points


def _antimeridian() -> GridError:
    return GridError(
        "the result crosses the antimeridian or holds a pole",
        "its outline has no simple form in longitude and latitude",
        "cut the scene at 180 degrees and run both parts",
    )


def _geojson(outline: shapely.Geometry) -> dict[str, Any]:
    """GeoJSON geometry with rounded coordinates."""

    def rounded(value: Any) -> Any:
        return round(value, _DIGITS) if isinstance(value, float) else [rounded(part) for part in value]

    geometry = shapely.geometry.mapping(outline)
    return {"type": geometry["type"], "coordinates": rounded(geometry["coordinates"])}


def _times(origin: Origin) -> dict[str, Any]:
    """`datetime`, or null with start and end where the inputs have several dates."""
    known = sorted(_period(value) for value in origin.dates)
    if not known and origin.made is None:
        raise ParameterError("the result has no date", "no input has one", "give a date with ::date=YYYY-MM-DD")
    if not known and origin.made is not None:
        return {"datetime": _utc(origin.made), "created": _utc(origin.made)}
    made = {} if origin.made is None else {"created": _utc(origin.made)}
    if known[0] == known[-1]:
        return {"datetime": _utc(known[0][0]), **made}
    last = max(end for _, end in known)
    return {"datetime": None, "start_datetime": _utc(known[0][0]), "end_datetime": _utc(last), **made}


def _period(value: date | datetime | str) -> tuple[datetime, datetime]:
    """First and last moment that an input's date stands for."""
    if isinstance(value, str):
        try:
            # Python 3.10 does not read a trailing Z.
            value = (
                date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(re.sub("Z$", "+00:00", value))
            )
        except ValueError as error:
            raise ParameterError(f'"{value}" is not a date', str(error), "write it as YYYY-MM-DD") from error
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        return moment, moment
    return (
        datetime.combine(value, time.min, timezone.utc),
        datetime.combine(value, time(23, 59, 59), timezone.utc),
    )


def _utc(moment: datetime) -> str:
    """A time as RFC 3339 wants it."""
    known = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return known.astimezone(timezone.utc).replace(tzinfo=None).isoformat() + "Z"


def _projection(grid: Grid) -> dict[str, Any]:
    """Projection extension: CRS, transform, shape, bounds."""
    authority = grid.crs.to_authority()
    crs = (
        {"proj:code": ":".join(authority)}
        if authority
        else {"proj:code": None, "proj:wkt2": grid.crs.to_wkt(version="WKT2_2019")}
    )
    return {
        **crs,
        "proj:shape": [grid.height, grid.width],
        "proj:transform": [float(value) for value in list(grid.transform)[:6]],
        "proj:bbox": list(grid.bounds),
    }


def _processing(origin: Origin) -> dict[str, Any]:
    """Processing extension: what made the result."""
    found: dict[str, Any] = {}
    if origin.software:
        found["processing:software"] = dict(origin.software)
    if origin.lineage:
        found["processing:lineage"] = origin.lineage
    if origin.made is not None:
        found["processing:datetime"] = _utc(origin.made)
    return found


def _model_link(model: ModelLink) -> dict[str, str]:
    """Model extension: items made by a model point to it."""
    return {
        "rel": "derived_from",
        "href": model.href,
        "type": JSON,
        "title": f"Model {model.name}",
        "mlm:name": model.name,
    }


def _asset(asset: Asset, grid: Grid) -> dict[str, Any]:
    """An asset with what its bands mean."""
    found: dict[str, Any] = {
        "href": asset.href,
        "title": asset.title,
        "type": asset.media_type,
        "roles": list(asset.roles),
    }
    legend = asset.legend
    if asset.profile is not None:
        legend = asset.profile.legend or legend
        found.update(_raster(asset.profile, grid))
    if legend is not None and legend.classes:
        found["classification:classes"] = _classes(legend)
    return found


def _raster(profile: RasterProfile, grid: Grid) -> dict[str, Any]:
    """Common metadata and raster extension of an asset; all its bands have the same type and scale."""
    bands = [{"name": profile.description(number) or f"band-{number}"} for number in range(1, profile.count + 1)]
    found: dict[str, Any] = {"data_type": profile.dtype, "bands": bands, "raster:sampling": "area"}
    width, height = grid.pixel_size_m()
    found["raster:spatial_resolution"] = round(math.sqrt(width * height), 4)
    if profile.nodata is not None:
        found["nodata"] = "nan" if math.isnan(profile.nodata) else profile.nodata
    if (profile.scale, profile.offset) != (1.0, 0.0):
        found["raster:scale"], found["raster:offset"] = profile.scale, profile.offset
    return found


def _classes(legend: Legend) -> list[dict[str, Any]]:
    """Classification extension; names are for machines there, so the real name is the description."""
    found, taken = [], set()
    for entry in legend.classes:
        plain = unicodedata.normalize("NFKD", entry.name).encode("ascii", "ignore").decode()
        name = re.sub(r"[^0-9A-Za-z_-]+", "-", plain).strip("-").lower()
        if not name or name in taken:
            name = f"{name}-{entry.value}".strip("-")
        taken.add(name)
        found.append(
            {
                "value": entry.value,
                "name": name,
                "description": entry.name,
                "color_hint": "{:02X}{:02X}{:02X}".format(*entry.color),
            }
        )
    return found
