"""Section *Area*: everything, what the map shows, the selected polygons, or a rectangle drawn on the map."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Optional

from qgis.core import (
    QgsCoordinateTransformContext,
    QgsMapLayer,
    QgsRectangle,
    QgsVectorFileWriter,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.gui import QgsMapToolExtent
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QComboBox, QHBoxLayout, QPushButton, QWidget

from ...backend.protocol.errors import InputError
from ...backend.protocol.jobs import AreaSpec
from ..text import translate

WHOLE, VIEW, SELECTED, DRAWN = "whole", "view", "selected", "drawn"


class AreaSection(QWidget):
    """Where to work.

    Args:
        iface: QGIS's interface.
        folder: for the polygons of a selection.
    """

    changed = pyqtSignal()

    def __init__(self, iface: Any, folder: Optional[Path] = None) -> None:
        super().__init__()
        self._iface = iface
        self._folder = folder
        self._tool: Optional[QgsMapToolExtent] = None
        self._before: Optional[Any] = None
        self._drawn: Optional[tuple[QgsRectangle, str]] = None
        self.kind = QComboBox()
        self.kind.setObjectName("area")
        for name, title in (
            (WHOLE, translate("whole scene")),
            (VIEW, translate("current view")),
            (SELECTED, translate("selected polygons of the active layer")),
            (DRAWN, translate("drawn rectangle")),
        ):
            self.kind.addItem(title, name)
        self.draw = QPushButton(translate("Draw"))
        self.draw.setVisible(False)
        box = QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.kind, 1)
        box.addWidget(self.draw)
        self.kind.currentIndexChanged.connect(self._chosen)
        self.draw.clicked.connect(self._start)

    def spec(self) -> AreaSpec:
        """The area of the job.

        Raises:
            InputError: nothing is selected or drawn.
        """
        kind = self.kind.currentData()
        if kind == VIEW:
            canvas = self._iface.mapCanvas()
            return _extent(canvas.extent(), canvas.mapSettings().destinationCrs())
        if kind == SELECTED:
            return AreaSpec(aoi=self._selection())
        if kind == DRAWN:
            if self._drawn is None:
                raise InputError(translate("No rectangle is drawn yet"), "", translate("press Draw and drag one"))
            return AreaSpec(extent=_bounds(self._drawn[0]), extent_crs=self._drawn[1])
        return AreaSpec()

    def close(self) -> bool:
        """Give the map its tool back."""
        self._stop()
        return bool(super().close())

    def _chosen(self) -> None:
        self.draw.setVisible(self.kind.currentData() == DRAWN)
        if self.kind.currentData() == DRAWN and self._drawn is None:
            self._start()
        self.changed.emit()

    def _start(self) -> None:
        canvas = self._iface.mapCanvas()
        if self._tool is None:
            self._tool = QgsMapToolExtent(canvas)
            self._tool.extentChanged.connect(self._taken)
        self._before = canvas.mapTool()
        canvas.setMapTool(self._tool)

    def _taken(self, extent: QgsRectangle) -> None:
        crs = self._iface.mapCanvas().mapSettings().destinationCrs()
        self._drawn = (QgsRectangle(extent), crs.authid() or crs.toWkt())
        self._stop()
        self.changed.emit()

    def _stop(self) -> None:
        if self._tool is not None and self._iface.mapCanvas().mapTool() is self._tool:
            self._iface.mapCanvas().unsetMapTool(self._tool)
            if self._before is not None:
                self._iface.mapCanvas().setMapTool(self._before)

    def _selection(self) -> str:
        """A file with the selected polygons of the active layer."""
        layer = self._iface.activeLayer()
        if (
            layer is None
            or layer.type() != QgsMapLayer.LayerType.VectorLayer
            or layer.geometryType() != QgsWkbTypes.GeometryType.PolygonGeometry
            or not layer.selectedFeatureCount()
        ):
            raise InputError(
                translate("No polygon is selected"),
                "",
                translate("select some in a polygon layer and make it the active one"),
            )
        folder = self._folder or Path(tempfile.mkdtemp(prefix="earthprism-area-"))
        return write_selection(layer, folder / "area.gpkg")


def write_selection(layer: QgsVectorLayer, path: Path) -> str:
    """Write a layer's selected features into a GeoPackage.

    Raises:
        InputError: it cannot be written.
    """
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "GPKG"
    options.onlySelectedFeatures = True
    path.unlink(missing_ok=True)
    error, *words = QgsVectorFileWriter.writeAsVectorFormatV3(
        layer, str(path), QgsCoordinateTransformContext(), options
    )
    if error != QgsVectorFileWriter.WriterError.NoError:
        raise InputError(translate("The selected polygons cannot be written"), str(words[0] if words else ""))
    return str(path)


def _extent(extent: QgsRectangle, crs: Any) -> AreaSpec:
    return AreaSpec(extent=_bounds(extent), extent_crs=crs.authid() or crs.toWkt())


def _bounds(extent: QgsRectangle) -> tuple[float, float, float, float]:
    return extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum()
