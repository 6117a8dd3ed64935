"""What QGIS shows as what the backend reads: files by their GDAL names, dates, and what must be exported first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsMapLayer,
    QgsProject,
    QgsProviderRegistry,
    QgsRasterFileWriter,
    QgsRasterPipe,
    QgsRasterProjector,
    QgsRectangle,
)
from qgis.PyQt.QtCore import Qt

from ..backend.protocol.errors import SourceError
from ..backend.protocol.jobs import InputSpec
from .text import translate

READABLE = "gdal"  # the one provider whose layers are files that the backend opens itself
# Exported pictures of an online layer beyond this many pixels take long and are often against its terms.
LARGE_EXPORT_PIXELS = 25_000_000


@dataclass(frozen=True)
class Export:
    """How to take a picture of a layer that the backend cannot read.

    Attributes:
        extent: what to take, in `crs`.
        crs: of the picture.
        pixel: side of a pixel in units of `crs`.
        target: the file to write.
    """

    extent: QgsRectangle
    crs: QgsCoordinateReferenceSystem
    pixel: float
    target: Path

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        columns, rows = self.extent.width() / self.pixel, self.extent.height() / self.pixel
        return max(1, round(columns)), max(1, round(rows))

    def warning(self) -> str:
        """What the user should think about before a large export; "" for none."""
        columns, rows = self.size
        if columns * rows <= LARGE_EXPORT_PIXELS:
            return ""
        text = translate("The online layer is exported at {columns} × {rows} pixels: this may take long.")
        return text.format(columns=columns, rows=rows)


def is_raster(layer: Any) -> bool:
    """Whether a layer is a raster at all."""
    return layer is not None and layer.type() == QgsMapLayer.LayerType.RasterLayer


def needs_export(layer: Any) -> bool:
    """Whether the backend cannot open the layer's source itself: an online service, a computed raster."""
    return bool(layer.providerType() != READABLE or _is_online(_decoded(layer).get("path", "")))


def paths_of(layer: Any) -> tuple[str, ...]:
    """The GDAL names of a layer's data.

    Raises:
        SourceError: it is no raster, its file is missing, or it must be exported first.
    """
    if not is_raster(layer):
        raise SourceError(translate("“{}” is no raster layer").format(layer.name() if layer is not None else ""))
    if not layer.isValid():
        raise SourceError(
            translate("“{}” cannot be read").format(layer.name()),
            translate("QGIS has lost its source"),
            translate("repair the layer's data source"),
        )
    if needs_export(layer):
        raise SourceError(
            translate("“{}” comes from an online service").format(layer.name()),
            "",
            translate("export it to a file first"),
        )
    parts = _decoded(layer)
    # What names more than a file, such as a variable or a table, is kept as GDAL wrote it.
    name = layer.source().split("|")[0]
    return (name if parts.get("layerName") or ":" in name[2:] else str(parts.get("path") or name),)


def date_of(layer: Any) -> Optional[str]:
    """The layer's date as ISO 8601 where QGIS knows one; None leaves it to the file."""
    temporal = layer.temporalProperties()
    if temporal is None or not temporal.isActive():
        return None
    begin = temporal.fixedTemporalRange().begin()
    return str(begin.date().toString(Qt.DateFormat.ISODate)) if begin.isValid() else None


def input_of(layer: Any, modality: str, **told: Any) -> InputSpec:
    """One input of a job.

    Args:
        layer: a raster layer.
        modality: "hr", "ms", "sar" or "raster".
        **told: what the user says of it: `sensor`, `date`, `bands`, `unit`, `offset`, `scale`, `role`.

    Raises:
        SourceError: as `paths_of`.
    """
    told.setdefault("date", date_of(layer))
    return InputSpec(modality, paths_of(layer), **told)


def series_of(node: Any) -> Sequence[Any]:
    """The raster layers of a group of the layer tree, as its dates in the tree's order."""
    layers = (child.layer() for child in node.findLayers())
    return [layer for layer in layers if is_raster(layer)]


def export_layer(layer: Any, export: Export, feedback: Any) -> None:
    """Write what a layer shows into a GeoTIFF; blocks, so only call it in a task's thread with a layer of that thread.

    Args:
        layer: a clone of the layer that belongs to the calling thread.
        export: what to write.
        feedback: a `QgsRasterBlockFeedback`, for progress and cancel.

    Raises:
        SourceError: the service did not deliver, or the file cannot be written.
    """
    pipe = QgsRasterPipe()
    pipe.set(layer.dataProvider().clone())
    projector = QgsRasterProjector()
    projector.setCrs(layer.crs(), export.crs, QgsProject.instance().transformContext())
    pipe.insert(1, projector)
    part = export.target.with_name(export.target.name + ".part")
    writer = QgsRasterFileWriter(str(part))
    writer.setOutputFormat("GTiff")
    writer.setCreateOptions(["COMPRESS=DEFLATE", "TILED=YES", "BIGTIFF=IF_SAFER"])
    columns, rows = export.size
    context = QgsProject.instance().transformContext()
    error = writer.writeRaster(pipe, columns, rows, export.extent, export.crs, context, feedback)
    if feedback.isCanceled() or error != QgsRasterFileWriter.WriterError.NoError:
        part.unlink(missing_ok=True)
        reason = "; ".join(feedback.errors()) or translate("the service gave no picture")
        raise SourceError(translate("“{}” could not be exported").format(layer.name()), reason)
    part.replace(export.target)


def extent_in(layer: Any, crs: QgsCoordinateReferenceSystem) -> QgsRectangle:
    """The layer's extent in another CRS."""
    transform = QgsCoordinateTransform(layer.crs(), crs, QgsProject.instance())
    return transform.transformBoundingBox(layer.extent())


def _decoded(layer: Any) -> dict[str, Any]:
    return dict(QgsProviderRegistry.instance().decodeUri(layer.providerType(), layer.source()))


def _is_online(path: Any) -> bool:
    return str(path).startswith(("/vsicurl", "http://", "https://", "<GDAL_WMS", "WMS:", "WMTS:"))
