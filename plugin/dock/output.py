"""Section *Result*: where it goes, what is made of it, on which grid; most of it folded away."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

from qgis.core import QgsMapLayerProxyModel, QgsProject
from qgis.gui import QgsCollapsibleGroupBox, QgsFileWidget, QgsMapLayerComboBox, QgsProjectionSelectionWidget
from qgis.PyQt.QtCore import QStandardPaths, pyqtSignal
from qgis.PyQt.QtWidgets import QCheckBox, QDoubleSpinBox, QFormLayout, QLineEdit, QVBoxLayout, QWidget

from ...backend.protocol.errors import ParameterError
from ...backend.protocol.jobs import GridSpec, MaskSpec
from ..choice import OutputChoice, suggested_path
from ..sources import paths_of
from ..text import translate


class OutputSection(QWidget):
    """What is written, and where."""

    changed = pyqtSignal()

    def __init__(self) -> None:
        super().__init__()
        self.file = QgsFileWidget()
        self.file.setStorageMode(QgsFileWidget.StorageMode.SaveFile)
        self.file.setFilter(translate("GeoTIFF (*.tif)"))
        self.file.setObjectName("output-file")
        self._suggested = ""
        self.confidence = QCheckBox(translate("Confidence"))
        self.confidence.setChecked(True)
        self.polygons = QCheckBox(translate("Polygons"))
        self.probabilities = QCheckBox(translate("Class probabilities"))
        self.again = QCheckBox(translate("Start again where a run of this name exists"))
        self.crs = QgsProjectionSelectionWidget()
        self.crs.setOptionVisible(QgsProjectionSelectionWidget.CrsOption.CrsNotSet, True)
        self.crs.setNotSetText(translate("that of the input"))
        self.resolution = _number(translate("that of the input"))
        self.min_area = _number(translate("any"))
        self.min_area.setSuffix(" m²")
        self.mask = QgsMapLayerComboBox()
        self.mask.setFilters(QgsMapLayerProxyModel.Filter.RasterLayer)
        self.mask.setAllowEmptyLayer(True)
        self.mask.setLayer(None)
        self.mask_values = QLineEdit()
        self.mask_values.setPlaceholderText(translate("values that are left out, such as 3,8,9; empty: all but 0"))
        self.threshold = QLineEdit()
        self.threshold.setPlaceholderText(translate("automatic; else percentile:95 or a number from 0 to 2"))
        self.threshold.setToolTip(translate("From which difference on a place counts as changed; for encoders"))
        self._lay_out()

    def _lay_out(self) -> None:
        fold = QgsCollapsibleGroupBox(translate("More"))
        fold.setCollapsed(True)
        form = QFormLayout(fold)
        for box in (self.confidence, self.polygons, self.probabilities):
            form.addRow(box)
        form.addRow(translate("Smallest area"), self.min_area)
        form.addRow(translate("CRS"), self.crs)
        form.addRow(translate("Pixel size"), self.resolution)
        form.addRow(translate("Mask"), self.mask)
        form.addRow("", self.mask_values)
        form.addRow(translate("Threshold of change"), self.threshold)
        form.addRow(self.again)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.file)
        column.addWidget(fold)
        self.file.fileChanged.connect(self.changed)
        for box in (self.confidence, self.polygons, self.probabilities, self.again):
            box.toggled.connect(self.changed)
        for number in (self.resolution, self.min_area):
            number.valueChanged.connect(self.changed)
        self.crs.crsChanged.connect(self.changed)
        self.mask.layerChanged.connect(self.changed)
        for text in (self.mask_values, self.threshold):
            text.editingFinished.connect(self.changed)

    def suggest(self, layers: list[str], models: list[str]) -> None:
        """Propose a file, unless the user has named one."""
        if self.file.filePath() not in ("", self._suggested):
            return
        self._suggested = suggested_path(home_folder(), layers, models)
        self.file.blockSignals(True)
        self.file.setFilePath(self._suggested)
        self.file.blockSignals(False)

    def taken(self) -> None:
        """The proposed file is in use by a run: the next one gets another name."""
        self._suggested = self.file.filePath()

    def choice(self) -> OutputChoice:
        """What is written.

        Raises:
            InputError: the mask cannot be read, or its values cannot be understood.
        """
        path = self.file.filePath().strip()
        if path and not path.lower().endswith((".tif", ".tiff")):
            path += ".tif"
        return OutputChoice(
            path,
            self.confidence.isChecked(),
            self.polygons.isChecked(),
            self.probabilities.isChecked(),
            self.min_area.value(),
            self.grid(),
            self._mask(),
            self.threshold.text().strip(),
            self.again.isChecked(),
        )

    def grid(self) -> GridSpec:
        """The grid of the result."""
        crs = self.crs.crs()
        return GridSpec(
            crs=(crs.authid() or crs.toWkt()) if crs.isValid() else None, resolution=self.resolution.value() or None
        )

    def _mask(self) -> Optional[MaskSpec]:
        layer: Any = self.mask.currentLayer()
        if layer is None:
            return None
        text = self.mask_values.text().replace(",", " ")
        try:
            values = tuple(int(value) for value in text.split())
        except ValueError as error:
            raise ParameterError(
                translate("“{}” are no values of a mask").format(self.mask_values.text()),
                translate("they must be whole numbers"),
            ) from error
        return MaskSpec(paths_of(layer)[0], values)


def home_folder() -> Path:
    """Where results go unless the user says otherwise: beside the project, else among the user's documents."""
    home = QgsProject.instance().homePath()
    if home:
        return Path(home)
    documents = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DocumentsLocation)
    return Path(documents or Path.home()) / "EarthPrism"


def _number(nothing: str) -> QDoubleSpinBox:
    """A number that may be left open, shown as `nothing`."""
    box = QDoubleSpinBox()
    box.setRange(0, 1e9)
    box.setDecimals(4)
    box.setSpecialValueText(nothing)
    return box
