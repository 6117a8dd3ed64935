"""Which grid a job works on, which grid its result has, and which part of it is wanted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import calculate_default_transform

from backend.geo.area import Area
from backend.geo.coverage import covered_share
from backend.geo.grid import Grid, Window, parse_crs, reproject_bounds
from backend.geo.source import Layer, describe, fingerprint, source_from_layers
from backend.geo.stac import footprint_wgs84
from backend.geo.warp import footprint
from backend.protocol.errors import GridError, PackageError, ParameterError
from backend.protocol.jobs import AreaSpec, GridSpec, MaskSpec
from backend.tasks.digest import file_digest
from backend.tasks.inputs import TITLES, SlotInput

# A package's range of pixel sizes is meant in round numbers: 10 m at the equator is 9.3 m at 60 degrees in some grids.
GSD_TOLERANCE = 0.1
# Averages of pixels this much finer still are what a coarser sensor sees; enlarging beyond this invents detail.
MOST_SHRINKING, MOST_ENLARGING = 8.0, 2.0
# Nobody resamples that much, while a metre is 1e-5 degrees: beyond it, units were mixed up.
MOST_RESAMPLING = 1000.0
# An empty pixel costs next to nothing, yet each of the 1e5 chunks that these make up is a file, and listed in the VRT
# that GDAL holds in memory, with about 5 kB: half a gigabyte. No scene that is mostly empty is worth it.
MOST_EMPTY_PIXELS = 1e11
LEAST_COVERED = 0.5


@dataclass(frozen=True)
class Place:
    """Where a job works.

    Attributes:
        scene: grid of the model's results.
        area: wanted part of it.
        result: grid of the result; None when it is `scene` cut to `area`.
        notes: what the user should know about it.
        limits: areas of interest; a pixel is wanted when it lies in all of them.
    """

    scene: Grid
    area: Window
    result: Grid | None
    notes: tuple[str, ...] = ()
    limits: tuple[Area, ...] = ()


def find_place(inputs: Sequence[SlotInput], grid: GridSpec, area: AreaSpec, window: int = 0) -> Place:
    """Grid, area and result grid of a job.

    Args:
        inputs: the main one first; its grid, or the one chosen for it, has `slot.size` pixels where the results have
            `window`, so that embeddings lie on a coarser grid than what they describe.
        grid: what the user chose.
        area: what the user chose.
        window: pixels of the results along a window's side; 0: as many as the main input has.

    Raises:
        GridError, SourceError, ParameterError: where inputs, area and grid do not fit together.
    """
    main = inputs[0]
    wanted = _wanted_grid(main, grid)
    seen, notes = _scene_grid(inputs, wanted, grid)
    scene = seen.zoomed(Fraction(window or main.slot.size, main.slot.size))
    areas = _areas(area, scene)
    inside = _overlap(scene, inputs)
    for limit in areas:
        inside = inside.intersect(limit.window)
    if inside.empty:
        raise GridError(
            "there is nothing to compute",
            "the area of interest and the rasters do not overlap",
            "choose an area inside the rasters",
        )
    _check_emptiness(main, scene.crop(inside))
    footprint_wgs84(scene.crop(inside))  # what has no outline on the Earth is refused now, not after the run
    chosen = grid.crs is not None or grid.resolution is not None or grid.reference not in ("finest", "model")
    result = None
    if (seen.crs != wanted.crs or seen.pixel_size != wanted.pixel_size) and (scene == seen or chosen):
        result = wanted.crop(wanted.window_of_bounds(scene.crop(inside).bounds, scene.crs))
    return Place(scene, inside, result, (*notes, *_coarse(inputs, seen)), areas)


def _wanted_grid(main: SlotInput, spec: GridSpec) -> Grid:
    """The grid that the user asked for, over the whole main input."""
    base = main.grid
    if spec.reference not in ("finest", "model"):
        base = _reference_grid(spec.reference, base)
    crs = parse_crs(spec.crs) if spec.crs else base.crs
    if spec.resolution is not None and not (math.isfinite(spec.resolution) and spec.resolution > 0):
        raise ParameterError(f"a resolution of {spec.resolution} makes no sense", "it must be a positive number")
    if crs == base.crs and spec.resolution is None:
        return base
    bounds = reproject_bounds(base.bounds, base.crs, crs)
    if spec.resolution is not None:
        pixel = (spec.resolution, spec.resolution)
        _check_resolution(pixel, bounds, base, crs)
    else:
        transform = calculate_default_transform(base.crs, crs, base.width, base.height, *base.bounds)[0]
        pixel = (abs(transform.a), abs(transform.e))
    return Grid.covering(crs, bounds, pixel)


def _check_resolution(
    pixel: tuple[float, float], bounds: tuple[float, float, float, float], base: Grid, crs: CRS
) -> None:
    """Refuse metres given for degrees and the like."""
    given = Grid.covering(crs, (bounds[0], bounds[3] - pixel[1], bounds[0] + pixel[0], bounds[3]), pixel)
    ratio = math.sqrt(math.prod(given.pixel_size_m()) / math.prod(base.pixel_size_m()))
    if 1 / MOST_RESAMPLING < ratio < MOST_RESAMPLING:
        return
    unit = crs.units_factor[0]
    raise ParameterError(
        f"a resolution of {pixel[0]:g} makes no sense",
        f"it is in units of {crs.to_string()} ({unit}), the pixels of the input have {_metres(base)}",
        f"give the size of a pixel in that unit ({unit})",
    )


def _reference_grid(path: str, base: Grid) -> Grid:
    """The lattice of another raster, over the main input."""
    reference = describe(path).require_grid()
    covered = footprint(reference, base).intersect(reference.window)
    if covered.empty:
        raise GridError(f'the grid of "{path}" does not overlap the input', "", "choose a raster of the same place")
    return reference.crop(covered)


def _pixel_range(inputs: Sequence[SlotInput]) -> tuple[float, float]:
    """Pixel sizes in metres of the main input at which every input has pixels that the model knows.

    Raises:
        PackageError: there are none.
    """
    main = inputs[0].slot
    scaled = [[size * item.slot.size / main.size for size in item.slot.gsd_m] for item in inputs]
    low, high = max(low for low, _ in scaled), min(high for _, high in scaled)
    if low > high:
        raise PackageError(
            "these inputs do not go together in this model",
            "there is no pixel size at which it knows all of them",
            "leave one out, or choose another model",
        )
    return low, high


def _scene_grid(inputs: Sequence[SlotInput], wanted: Grid, spec: GridSpec) -> tuple[Grid, tuple[str, ...]]:
    """The grid on which the model works, in pixels of the main input, and what is to be said about it.

    The wanted one if the model knows such pixels, else the main input's own, else the wanted one resampled to the
    nearest pixel size that the model knows, if that is not far.
    """
    main, (low, high) = inputs[0], _pixel_range(inputs)
    if _in_range(wanted, low, high):
        return wanted, ()
    if spec.reference == "model":
        pixel = _model_pixel(low, high)
        return _resized(wanted, pixel), (f"the scene is resampled to {pixel:.3g} m for the model",)
    if _in_range(main.grid, low, high):
        note = f"the model works at {_metres(main.grid)}, the result is then resampled to {_metres(wanted)}"
        return main.grid, (note,)
    title, size = TITLES[main.slot.modality], _size(main.grid)
    has = f"the {title} input has {_metres(main.grid)}"
    made, advice = f"the model was made for pixels of {low:.3g} to {high:.3g} m", ""
    if len(inputs) > 1 and (low, high) != main.slot.gsd_m:
        others = " and ".join(TITLES[item.slot.modality] for item in inputs[1:])
        made += f" of the {title} input beside {others}"
        advice = f"leave {others} out, " if _in_range(main.grid, *main.slot.gsd_m) else ""
    if low / MOST_SHRINKING <= size <= high * MOST_ENLARGING:
        pixel = min(max(size, low), high)
        return _resized(wanted, pixel), (f"{has} and is resampled to {pixel:.3g} m: {made}",)
    raise GridError(made, has, f"{advice}use --grid model to resample it all the same, or choose another model")


def _coarse(inputs: Sequence[SlotInput], seen: Grid) -> Iterator[str]:
    """Inputs beside the main one of which the model wants much smaller pixels than they have, in words."""
    main = inputs[0].slot
    for item in inputs[1:]:
        read = _size(seen) * main.size / item.slot.size
        if _size(item.grid) > read * MOST_ENLARGING:
            yield f"the {TITLES[item.slot.modality]} input has {_metres(item.grid)} and is enlarged to {read:.3g} m"


def _in_range(grid: Grid, low: float, high: float) -> bool:
    return low * (1 - GSD_TOLERANCE) <= _size(grid) <= high * (1 + GSD_TOLERANCE)


def _size(grid: Grid) -> float:
    """Side in metres of a square as large as a pixel."""
    return math.sqrt(math.prod(grid.pixel_size_m()))


def _metres(grid: Grid) -> str:
    width, height = grid.pixel_size_m()
    return f"{width:.3g} m" if abs(width - height) < 0.05 * width else f"{width:.3g} x {height:.3g} m"


def _model_pixel(low: float, high: float) -> float:
    """The middle of a range of pixel sizes, in equal ratios."""
    return math.sqrt(low * high) if low > 0 and math.isfinite(high) else max(low, 1.0)


def _resized(wanted: Grid, pixel: float) -> Grid:
    """The grid with pixels of this many metres, from the same corner."""
    ratio = pixel / _size(wanted)
    # Anchored at the raster's own corner: pixels that stick out there would lose its first rows and columns.
    cols, rows = (max(1, math.ceil(pixels / ratio - 1e-6)) for pixels in (wanted.width, wanted.height))
    return Grid(wanted.crs, wanted.transform @ Affine.scale(ratio), cols, rows)


def _overlap(scene: Grid, inputs: Sequence[SlotInput]) -> Window:
    """Pixels where every required input has a raster; one that is not required must touch the scene at least."""
    window = scene.window
    for item in inputs:
        covered = [footprint(scene, resolved.source.grid).intersect(scene.window) for resolved in item.resolved]
        filled = [place for place in covered if not place.empty]
        if not filled:
            raise GridError(
                "the rasters do not overlap",
                f'"{item.specs[0].paths[0]}" lies elsewhere than the main input',
                "choose rasters of the same place",
            )
        if not item.slot.required:
            continue
        col, row = min(c.col for c in filled), min(c.row for c in filled)
        union = Window(col, row, max(c.right for c in filled) - col, max(c.bottom for c in filled) - row)
        window = window.intersect(union)
    if window.empty:
        raise GridError(
            "the rasters do not overlap", "no pixel lies in all of them", "choose rasters of the same place"
        )
    return window


def _check_emptiness(main: SlotInput, area: Grid) -> None:
    """Refuse rasters scattered so widely that the empty ground between them alone would fill memory and disk."""
    if area.width * area.height <= MOST_EMPTY_PIXELS:
        return
    files = {path for resolved in main.resolved for layer in resolved.source.layers for path in layer.paths}
    share = covered_share(area, [describe(path).require_grid() for path in sorted(files)])
    if share < LEAST_COVERED:
        raise GridError(
            "the rasters lie too far apart to be one scene",
            f"they cover {100 * share:.2g} % of {area.width} x {area.height} pixels",
            "run them one by one, or choose a part with --aoi or --extent",
        )


def _areas(area: AreaSpec, scene: Grid) -> tuple[Area, ...]:
    found = []
    if area.aoi is not None:
        found.append(Area.from_file(area.aoi, scene))
    if area.extent is not None:
        if area.extent_crs is None:
            raise ParameterError("the extent has no CRS", "", "add --extent-crs, as in --extent-crs EPSG:4326")
        found.append(Area.from_extent(area.extent, parse_crs(area.extent_crs), scene))
    return tuple(found)


def describe_place(place: Place, area: AreaSpec, mask: MaskSpec | None) -> dict[str, Any]:
    """JSON values that identify where a job works."""
    window = place.area
    found: dict[str, Any] = {
        "grid": place.scene.to_dict(),
        "area": [window.col, window.row, window.width, window.height],
        "extent": [*area.extent, area.extent_crs] if area.extent else None,
        "result grid": place.result.to_dict() if place.result else None,
        "polygons": file_digest(area.aoi) if area.aoi else None,
        "mask": None,
    }
    if mask is not None:
        source = source_from_layers([Layer((mask.path,), (1,))], classes=True)
        found["mask"] = {"files": fingerprint(source), "values": list(mask.values)}
    return found
