"""Windows of one grid, read from sources of any CRS, pixel size and extent."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import numpy as np

from backend.geo.grid import Grid, Window
from backend.geo.raster_file import Levels, RasterFile, choose_levels
from backend.geo.sample import BORDER_TOLERANCE, Mask, Values, nearest, pick_points, sample_axes, sample_points, taps
from backend.geo.source import Layer, Source, describe
from backend.geo.warp import Floats, PixelMap, footprint
from backend.protocol.errors import ParameterError, SourceError

# Numbers (float32) read at once for one window of a raster that is not aligned: 32 MiB.
_READ_LIMIT = 8 << 20
# Handles kept open by one reader; a mosaic may have thousands of tiles.
_OPEN_FILES = 64


class StripReader:
    """Reads windows of a grid from a source; one dataset handle per reader, hence per thread; a context manager.

    Aligned rasters are read as they are. Others are sampled by a box as wide as the target pixel: the area-weighted
    average when shrinking (from overviews where there are any), bilinear interpolation when enlarging.

    Args:
        source: the bands.
        grid: the target; any CRS, resolution and extent.
        resampling: "auto", or "nearest" for class numbers.
        overviews: False reads full resolution only, for files whose overviews are no averages.

    Raises:
        SourceError: when a file is missing or unreadable, then and at any later read.
        GridError: when a raster cannot be put on the grid, for example across the antimeridian.
    """

    def __init__(self, source: Source, grid: Grid, resampling: str = "auto", overviews: bool = True) -> None:
        if resampling not in ("auto", "nearest"):
            raise ParameterError(f'"{resampling}" is no way of resampling', "", 'choose "auto" or "nearest"')
        self.grid, self.count = grid, source.count
        self._open: list[RasterFile] = []
        self._layers = [
            [_Tile(path, layer, grid, resampling, overviews) for path in layer.paths] for layer in source.layers
        ]

    def __enter__(self) -> StripReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes all handles."""
        for tiles in self._layers:
            for tile in tiles:
                tile.file.close()
        self._open.clear()

    def read(self, window: Window) -> tuple[Values, Mask]:
        """Raw numbers (GDAL's scale and offset not applied) and validity of a window.

        Args:
            window: may reach over the grid's border; what lies outside is invalid.

        Returns:
            values: float32 (bands, H, W); 0 where invalid.
            valid: bool (H, W): the nearest source pixel is valid in every band. Values of valid pixels hold nothing of
                invalid neighbours. Where shrinking goes over means of several source pixels, such a mean is valid
                when at least half of its pixels are.
        """
        shape = (window.height, window.width)
        inner = window.intersect(self.grid.window)
        if inner != window:
            values, valid = np.zeros((self.count, *shape), np.float32), np.zeros(shape, np.bool_)
            if not inner.empty:
                rows, cols = inner.moved(-window.col, -window.row).slices()
                values[:, rows, cols], valid[rows, cols] = self.read(inner)
            return values, valid
        values = np.empty((self.count, *shape), np.float32)
        common: Mask | None = None
        band = 0
        for tiles in self._layers:
            count = len(tiles[0].file.indexes)
            valid_here = self._read_layer(tiles, window, values[band : band + count])
            if valid_here is not None:
                common = valid_here if common is None else np.logical_and(common, valid_here, out=common)
            band += count
        if common is None:
            return values, np.ones(shape, np.bool_)
        values[:, ~common] = 0.0
        return values, common

    def _read_layer(self, tiles: Sequence[_Tile], window: Window, out: Values) -> Mask | None:
        """Fills `out` (bands, H, W) from the first tile that is valid at a pixel; validity, None when all is valid."""
        touching = [tile for tile in tiles if not tile.area.intersect(window).empty]
        if touching and touching[0].area.intersect(window) == window:
            valid = self._read_tile(touching[0], window, out)
            if valid is None or len(touching) == 1:
                return valid
            touching = touching[1:]
        else:
            out[...] = 0.0
            valid = np.zeros((window.height, window.width), np.bool_)
        for tile in touching:
            part = tile.area.intersect(window)
            rows, cols = part.moved(-window.col, -window.row).slices()
            _fill(out[:, rows, cols], valid[rows, cols], *self._part(tile, part, len(out)))
            if valid.all():
                return None
        return valid

    def _part(self, tile: _Tile, part: Window, bands: int) -> tuple[Values, Mask | None]:
        """A tile's own pixels of a window."""
        values = np.empty((bands, part.height, part.width), np.float32)
        return values, self._read_tile(tile, part, values)

    def _read_tile(self, tile: _Tile, window: Window, out: Values) -> Mask | None:
        """Reads from one tile, keeping the number of open files bounded."""
        if tile.file in self._open:
            self._open.remove(tile.file)
        self._open.append(tile.file)
        if len(self._open) > _OPEN_FILES:
            self._open.pop(0).close()
        return tile.read_into(window, out)


class MaskReader:
    """Reads validity on a grid from an extra mask raster, such as a cloud mask or scene classification.

    Args:
        path: the raster; it has one band.
        grid: the target.
        values: numbers that mean "invalid"; empty means every number but 0.

    Raises:
        SourceError, GridError: as `StripReader`.
    """

    def __init__(self, path: str, grid: Grid, values: Sequence[int] = ()) -> None:
        info = describe(path)
        if info.count != 1:
            raise SourceError(
                f'the mask "{path}" has {info.count} bands',
                "a mask has one, and which of these belongs to the scene is not known",
                "write that band to a file of its own, for example with gdal_translate -b N",
            )
        layer = Layer((path,), (1,))
        self._reader = StripReader(Source((layer,), info.require_grid()), grid, "nearest")
        self._values = np.array(sorted(values), np.float32)

    def __enter__(self) -> MaskReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the raster."""
        self._reader.close()

    def read(self, window: Window) -> Mask:
        """True (H, W) where the mask does not forbid the pixel: also outside the raster and at its nodata."""
        values, known = self._reader.read(window)
        forbidden = np.isin(values[0], self._values) if self._values.size else values[0] != 0
        return ~(forbidden & known)


class _Tile:
    """One file of a layer, on the target grid.

    Attributes:
        area: window of the grid outside of which the file holds nothing.
    """

    def __init__(self, path: str, layer: Layer, grid: Grid, resampling: str, overviews: bool) -> None:
        info = describe(path)
        raster = info.require_grid()
        self._nearest, self._overviews = resampling == "nearest", overviews
        offset = grid.offset_of(raster)
        if offset is not None:
            self._offset = offset
            self._map: PixelMap | None = None
            self.area = Window(*offset, raster.width, raster.height).intersect(grid.window)
            self.file = RasterFile(path, layer.indexes, layer.nodata)
        else:
            self.area = footprint(grid, raster).intersect(grid.window)
            self.file = RasterFile(path, layer.indexes, layer.nodata, self._levels(path, layer, grid, raster))
            self._map = None if self.area.empty else PixelMap(grid, self.file.grid, self.area)
        self.file.close()

    def read_into(self, window: Window, out: Values) -> Mask | None:
        """Fills `out` (bands, H, W) with a window inside `area`; validity (H, W), None when all is valid."""
        if self._map is None:
            return self.file.read_into(window.moved(-self._offset[0], -self._offset[1]), out)
        return self._read_sampled(self._map, window, out)

    def _levels(self, path: str, layer: Layer, grid: Grid, raster: Grid) -> Levels:
        """Which overview and cell size suits the target."""
        if self._nearest or self.area.empty:
            return Levels()
        pixel_map = PixelMap(grid, raster, self.area)
        declared = {band.nodata for band in describe(path).bands if band.index in layer.indexes}
        # Along separate axes a wide box is cheap; at points its cost grows with its area.
        cells_wanted = 2 if pixel_map.separable else 1
        clean = layer.nodata is None or declared == {layer.nodata}
        return choose_levels(path, layer.indexes, pixel_map.scale, cells_wanted, self._overviews and clean)

    def _read_sampled(self, pixel_map: PixelMap, window: Window, out: Values) -> Mask | None:
        """Samples the file; large windows are halved until what must be read fits the limit, which changes no pixel."""
        axes = pixel_map.axes(window) if pixel_map.separable else None
        cols, rows = axes or pixel_map.coordinates(window)
        width, height = self.file.grid.width, self.file.grid.height
        inside = _combine(_within(cols, width), _within(rows, height), separable=axes is not None)
        if not inside.any():
            out[...] = 0.0
            return inside
        widths = (1.0, 1.0) if self._nearest else (max(1.0, pixel_map.scale[0]), max(1.0, pixel_map.scale[1]))
        cells = _cells(cols, rows, (width, height), (0.0, 0.0) if self._nearest else widths)
        if self.file.read_cost(cells) > _READ_LIMIT and window.width * window.height > 1:
            return self._read_halves(pixel_map, window, out)
        values, known = self.file.read_cells(cells)
        local_cols = _clamped(cols, width) - cells.col
        local_rows = _clamped(rows, height) - cells.row
        if self._nearest:
            points = (local_cols, local_rows) if axes is None else (local_cols[None, :], local_rows[:, None])
            out[...] = pick_points(values, *points)
            valid = None if known is None else pick_points(known[None], *points)[0]
        else:
            sample = sample_points if axes is None else sample_axes
            out[...], valid = sample(values, known, local_cols, local_rows, widths)
        if inside.all():
            return valid
        valid = inside if valid is None else valid & inside
        out[:, ~valid] = 0.0
        return valid

    def _read_halves(self, pixel_map: PixelMap, window: Window, out: Values) -> Mask | None:
        """Reads a window in two parts along its longer side."""
        if window.height >= window.width:
            cut = window.height // 2
            first = Window(window.col, window.row, window.width, cut)
            second = Window(window.col, window.row + cut, window.width, window.height - cut)
        else:
            cut = window.width // 2
            first = Window(window.col, window.row, cut, window.height)
            second = Window(window.col + cut, window.row, window.width - cut, window.height)
        valid = np.ones((window.height, window.width), np.bool_)
        for part in (first, second):
            rows, cols = part.moved(-window.col, -window.row).slices()
            known = self._read_sampled(pixel_map, part, out[:, rows, cols])
            if known is not None:
                valid[rows, cols] = known
        return None if valid.all() else valid


def _fill(out: Values, valid: Mask, values: Values, known: Mask | None) -> None:
    """Puts known values where nothing is valid yet."""
    new = ~valid if known is None else known & ~valid
    np.copyto(out, values, where=new)
    valid |= new


def _within(coordinates: Floats, size: int) -> Mask:
    """Coordinates whose nearest pixel lies in the raster; NaN does not."""
    with np.errstate(invalid="ignore"):
        return (coordinates >= -BORDER_TOLERANCE) & (coordinates < size - BORDER_TOLERANCE)


def _combine(cols: Mask, rows: Mask, separable: bool) -> Mask:
    """Points (H, W) inside along both axes."""
    return rows[:, None] & cols[None, :] if separable else cols & rows


def _clamped(coordinates: Floats, size: int) -> Floats:
    """Coordinates moved into the raster, so that they can be looked up; NaN becomes 0."""
    return np.clip(np.nan_to_num(coordinates, nan=0.0), 0.0, size - 2 * BORDER_TOLERANCE)


def _cells(cols: Floats, rows: Floats, size: tuple[int, int], widths: tuple[float, float]) -> Window:
    """Window of cells that holds every tap of the points; width 0 stands for the nearest cell."""
    low, high = [], []
    for coordinates, length, width in zip((cols, rows), size, widths, strict=True):
        ends = _clamped(np.array([np.nanmin(coordinates), np.nanmax(coordinates)]), length)
        if width == 0.0:
            first, last = nearest(ends)
        else:  # the last tap is looked up even where its weight is 0
            first, last = taps(ends, width)[0] + (0, int(np.ceil(width - BORDER_TOLERANCE)))
        low.append(int(first))
        high.append(int(last) + 1)
    return Window(low[0], low[1], high[0] - low[0], high[1] - low[1])
