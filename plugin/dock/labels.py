"""Section *Labels*: a layer of labelled places, the field of their classes, and the name of what is learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransformContext,
    QgsField,
    QgsFields,
    QgsMapLayerProxyModel,
    QgsProject,
    QgsVectorFileWriter,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.gui import QgsFieldComboBox, QgsMapLayerComboBox
from qgis.PyQt.QtCore import QVariant, pyqtSignal
from qgis.PyQt.QtWidgets import QFormLayout, QLineEdit, QPushButton, QWidget

from ...backend.protocol.errors import OutputError
from ...backend.protocol.jobs import LabelSpec
from ..text import translate

FIELD, LAYER = "class", "labels"


class LabelsSection(QWidget):
    """Which labels, and what the new model is called."""

    changed = pyqtSignal()

    def __init__(self) -> None:
        super().__init__()
        self.layer = QgsMapLayerComboBox()
        self.layer.setFilters(QgsMapLayerProxyModel.Filter.HasGeometry)
        self.layer.setAllowEmptyLayer(True)
        self.layer.setLayer(None)
        self.layer.setObjectName("label-layer")
        self.field = QgsFieldComboBox()
        self.field.setObjectName("label-field")
        self.save = QLineEdit("my-model")
        self.save.setToolTip(translate("Small letters, digits and dashes; other labels give its next version"))
        self.new = QPushButton(translate("New label layer"))
        self.new.setToolTip(translate("Polygons with a field for the class, in a GeoPackage; ready to be drawn"))
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow(translate("Layer"), self.layer)
        form.addRow("", self.new)
        form.addRow(translate("Field of the classes"), self.field)
        form.addRow(translate("Name of the new model"), self.save)
        self.layer.layerChanged.connect(self._layer_changed)
        self.field.fieldChanged.connect(self.changed)
        self.save.editingFinished.connect(self.changed)

    @property
    def complete(self) -> bool:
        """Whether everything is chosen."""
        return self.layer.currentLayer() is not None and bool(self.field.currentField() and self.save.text().strip())

    def spec(self, path: str) -> Optional[LabelSpec]:
        """The labels as they will lie in a file; None where something is not chosen."""
        return LabelSpec(path, self.field.currentField()) if self.complete else None

    def write(self, path: str) -> None:
        """Write the labels as they are now, with edits that are not saved, beside the result.

        Raises:
            OutputError: the file cannot be written.
        """
        layer: Any = self.layer.currentLayer()
        options = QgsVectorFileWriter.SaveVectorOptions()
        options.driverName, options.layerName = "GPKG", LAYER
        context = QgsProject.instance().transformContext()
        error = QgsVectorFileWriter.writeAsVectorFormatV3(layer, path, context, options)
        if error[0] != QgsVectorFileWriter.WriterError.NoError:
            raise OutputError(translate("the labels cannot be written to “{}”").format(path), error[1])

    def make(self, path: Path, crs: QgsCoordinateReferenceSystem) -> Optional[Any]:
        """A new layer of polygons in a file, in the project and ready to be drawn; None where it cannot be made."""
        fields = QgsFields()
        fields.append(QgsField(FIELD, QVariant.String))
        options = QgsVectorFileWriter.SaveVectorOptions()
        options.driverName, options.layerName = "GPKG", LAYER
        writer = QgsVectorFileWriter.create(
            str(path), fields, QgsWkbTypes.Type.Polygon, crs, QgsCoordinateTransformContext(), options
        )
        failed = writer.hasError() != QgsVectorFileWriter.WriterError.NoError
        del writer  # the file is complete when the writer is gone
        layer = QgsVectorLayer(str(path), translate("labels"), "ogr")
        if failed or not layer.isValid():
            return None
        QgsProject.instance().addMapLayer(layer)
        self.layer.setLayer(layer)
        layer.startEditing()
        return layer

    def _layer_changed(self, layer: Any) -> None:
        self.field.setLayer(layer)
        if layer is not None and layer.fields().indexOf(FIELD) >= 0:
            self.field.setField(FIELD)
        self.changed.emit()
