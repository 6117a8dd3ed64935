"""Results as layers: shown while they grow, styled, grouped by run, dated; at the end switched to the final files.

The measured recipe of live rasters: the backend writes finished parts and replaces a small VRT; here a timer reloads
the layers that changed, at most twice a second and never while the map is being drawn.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Optional

from qgis.core import (
    Qgis,
    QgsDataProvider,
    QgsDateTimeRange,
    QgsLayerMetadata,
    QgsMapLayer,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QDateTime, QObject, Qt, QTimer

from ..backend.protocol.messages import ChunkWritten, JobEvent
from . import styles
from .jobs import Ending, Run
from .results import CLASSES, CONFIDENCE, DIFFERENCE, EMBEDDING, POLYGONS, PROBABILITIES, Output, RunRecord
from .text import translate

REFRESH_MS = 500
_FIXED = {
    QgsMapLayer.LayerType.RasterLayer: Qgis.RasterTemporalMode.FixedTemporalRange,
    QgsMapLayer.LayerType.VectorLayer: Qgis.VectorTemporalMode.FixedTemporalRange,
}
OUTPUT_PROPERTY = "earthprism/output"  # what of which file a layer shows: a resumed run finds its layers by it


class RunLayers(QObject):
    """The layers of one run, in a group of the layer tree.

    Args:
        run: followed from now on; its job names a file `output`.
        title: name of the group.
        project: where the layers go.
        canvas: the map they are drawn on; None where there is none.
        parent: owner of this object.
    """

    def __init__(
        self, run: Run, title: str, project: QgsProject, canvas: Optional[Any] = None, parent: Optional[QObject] = None
    ) -> None:
        super().__init__(parent)
        self._file, self._title = str(getattr(run.job, "output", "")), title
        self._project, self._canvas = project, canvas
        self._layers: dict[Output, str] = {}  # ids, not layers: the user may remove a layer at any time
        self._changed: set[Output] = set()
        self._timer = QTimer(self)
        self._timer.setInterval(REFRESH_MS)
        self._timer.timeout.connect(self.refresh)
        run.told.connect(self.follow)
        run.ended.connect(self.finish)

    def layer(self, output: Output) -> Optional[Any]:
        """The layer that shows an output; None when there is none (any more)."""
        found = self._layers.get(output)
        return None if found is None else self._project.mapLayer(found)

    def follow(self, event: JobEvent) -> None:
        """Show a part that is finished."""
        if not isinstance(event, ChunkWritten):
            return
        output = Output.named(event.output)
        if output not in self._layers:
            self._show(output, event.vrt)
        self._changed.add(output)
        if not self._timer.isActive():
            self._timer.start()

    def refresh(self) -> None:
        """Draw again what has changed; waits while the map is being drawn."""
        if self._canvas is not None and self._canvas.isDrawing():
            return
        for layer in map(self.layer, self._changed):
            if layer is not None:
                layer.dataProvider().reloadData()
                layer.triggerRepaint()
        self._changed.clear()
        self._timer.stop()

    def finish(self, ending: Ending) -> None:
        """Switch to the final files; what a run that did not end has finished stays on the map."""
        self._timer.stop()
        self.refresh()
        if ending.result is None:
            return
        record = RunRecord.of(ending.result)
        for output, path in record.files.items():
            layer = self._final(output, path, record)
            if layer is not None:
                describe(layer, record)

    def _show(self, output: Output, path: str) -> None:
        """The layer of a growing raster; that of an interrupted run into the same file goes on."""
        wanted = self._property(output)
        layers = self._project.mapLayers().values()
        layer = next((layer for layer in layers if layer.customProperty(OUTPUT_PROPERTY) == wanted), None)
        if layer is None:
            layer = self._raster(output, path)
        else:
            layer.setDataSource(path, layer.name(), "gdal", QgsDataProvider.ProviderOptions())
        if layer is not None:
            self._layers[output] = layer.id()

    def _final(self, output: Output, path: Path, record: RunRecord) -> Optional[Any]:
        if output.kind == POLYGONS:
            layer = QgsVectorLayer(str(path), name_of(output), "ogr")
            if not layer.isValid():
                return None
            styles.style_polygons(layer, record.legends.get(output.model, ()))
            return self._added(output, layer)
        layer = self.layer(output)
        if layer is None:  # nothing was shown of it, or the user took it away
            return None if output in self._layers else self._raster(output, str(path))
        renderer = layer.renderer().clone()
        # Statistics that QGIS kept of the half-filled raster would spoil the stretch of the whole one.
        layer.setDataSource(str(path), layer.name(), "gdal", QgsDataProvider.ProviderOptions())
        layer.setRenderer(renderer)
        layer.triggerRepaint()
        return layer

    def _raster(self, output: Output, path: str) -> Optional[Any]:
        options = QgsRasterLayer.LayerOptions()
        options.loadDefaultStyle = False  # there may be nothing to take a stretch from yet
        layer = QgsRasterLayer(path, name_of(output), "gdal", options)
        if not layer.isValid():
            return None
        if output.kind == CLASSES:
            styles.style_classes(layer, styles.legend_of(layer))
        elif output.kind == CONFIDENCE:
            styles.style_confidence(layer)
        elif output.kind == DIFFERENCE:
            styles.style_difference(layer)
        else:
            layer.setDefaultContrastEnhancement()
        return self._added(output, layer)

    def _added(self, output: Output, layer: Any) -> Any:
        """The layer, in its place among the run's others."""
        layer.setCustomProperty(OUTPUT_PROPERTY, self._property(output))
        self._project.addMapLayer(layer, False)
        root = self._project.layerTreeRoot()
        group = root.findGroup(self._title) or root.insertGroup(0, self._title)
        above = [shown for shown in self._layers if shown.rank <= output.rank and self.layer(shown) is not None]
        group.insertLayer(min(len(above), len(group.children())), layer)
        self._layers[output] = layer.id()
        return layer

    def _property(self, output: Output) -> str:
        return f"{self._file}|{output.model}|{output.kind}"


def name_of(output: Output) -> str:
    """What a layer is called."""
    words = {
        CLASSES: translate("classes"),
        CONFIDENCE: translate("confidence"),
        PROBABILITIES: translate("probabilities"),
        POLYGONS: translate("polygons"),
        EMBEDDING: translate("embedding"),
        DIFFERENCE: translate("difference"),
    }
    word = words.get(output.kind, output.kind)
    return f"{output.model}: {word}" if output.model else word


def describe(layer: Any, record: RunRecord) -> None:
    """Put what a run was into the layer's metadata, and the dates of its inputs into the layer's time."""
    metadata = QgsLayerMetadata(layer.metadata())
    metadata.setIdentifier(str(record.document["run"]))
    metadata.setTitle(layer.name())
    metadata.setAbstract(json.dumps(record.document, indent=1, ensure_ascii=False))
    metadata.setHistory([f"EarthPrism {record.document['program']}", *record.models])
    layer.setMetadata(metadata)
    if not record.dates:
        return
    begin, end = (QDateTime.fromString(day, Qt.DateFormat.ISODate) for day in (record.dates[0], record.dates[-1]))
    temporal = layer.temporalProperties()
    temporal.setMode(_FIXED[layer.type()])
    temporal.setFixedTemporalRange(QgsDateTimeRange(begin, end.addDays(1), True, False))
    temporal.setIsActive(True)
