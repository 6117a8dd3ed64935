"""Section *Inputs*: per modality any number of layers, each with sensor, date and what its file does not say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from qgis.core import QgsMapLayerProxyModel
from qgis.gui import QgsMapLayerComboBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QGridLayout,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ...backend.protocol.jobs import InputSpec
from ..choice import AFTER, BEFORE, TOLD_EXAMPLE, told_of
from ..sources import input_of, needs_export
from ..text import plain, translate

SHORT = "moment"  # how the names of boxes begin that only hold short words
MODALITIES = ("hr", "ms", "sar", "raster")


def title_of(modality: str) -> str:
    """A modality's name for people."""
    return {
        "hr": translate("High-resolution optical"),
        "ms": translate("Multispectral"),
        "sar": translate("Radar"),
        "raster": translate("Other sensor"),
    }[modality]


class LayerRow(QWidget):
    """One layer of a modality.

    Args:
        modality: of the row.
        sensors: name and title of the sensors that it may be said to be of.
        first: whether it stays when it is emptied.
    """

    changed = pyqtSignal()
    removed = pyqtSignal()

    def __init__(self, modality: str, sensors: Sequence[tuple[str, str]], first: bool) -> None:
        super().__init__()
        self.modality = modality
        self.layer = QgsMapLayerComboBox()
        self.layer.setFilters(QgsMapLayerProxyModel.Filter.RasterLayer)
        self.layer.setAllowEmptyLayer(True)
        self.layer.setLayer(None)
        self.layer.setObjectName(f"layer-{modality}")
        self.moment = QComboBox()
        self.moment.setObjectName(f"{SHORT}-{modality}")
        self.moment.addItem(translate("earlier"), BEFORE)
        self.moment.addItem(translate("later"), AFTER)
        self.moment.setToolTip(translate("Which of the two dates the layer is of"))
        self.moment.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.moment.setVisible(False)
        self._compared = False
        self.sensor = QComboBox()
        self.sensor.setToolTip(translate("The sensor; as a rule it is recognised from the file"))
        self.date = QLineEdit()
        self.date.setPlaceholderText(translate("date of the file"))
        self.date.setToolTip(translate("Acquisition date as 2023-06-15, where the file does not say it"))
        self.told = QLineEdit()
        self.told.setPlaceholderText(translate("what the file does not say, such as {}").format(TOLD_EXAMPLE))
        self.more = QToolButton()
        self.more.setText("…")
        self.more.setCheckable(True)
        self.more.setToolTip(translate("Sensor, date and what the file does not say"))
        self.drop = QToolButton()
        self.drop.setText("−")
        self.drop.setToolTip(translate("Take this layer away"))
        self.drop.setVisible(not first)
        self.layer.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.sensor.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.set_sensors(sensors)
        self._lay_out()
        self.layer.layerChanged.connect(self.changed)
        for box in (self.moment, self.sensor):
            box.currentIndexChanged.connect(self.changed)
        for text in (self.date, self.told):
            text.editingFinished.connect(self.changed)
        self.more.toggled.connect(self._unfold)
        self.drop.clicked.connect(self.removed)

    def set_sensors(self, sensors: Sequence[tuple[str, str]]) -> None:
        """Offer these sensors, and to recognise it."""
        chosen = self.sensor.currentData()
        self.sensor.blockSignals(True)
        self.sensor.clear()
        self.sensor.addItem(translate("recognised from the file"), None)
        for name, title in sensors:
            self.sensor.addItem(title, name)
        self.sensor.setCurrentIndex(max(0, self.sensor.findData(chosen)))
        self.sensor.blockSignals(False)

    def compare(self, on: bool) -> None:
        """Ask of which of two dates the layer is, or of none."""
        self._compared = on
        self.moment.setVisible(on)

    def spec(self) -> Optional[InputSpec]:
        """The input; None for an empty row.

        Raises:
            InputError: the layer cannot be read, or what is told of it cannot be understood.
        """
        layer = self.layer.currentLayer()
        if layer is None:
            return None
        told: dict[str, Any] = told_of(self.told.text())
        if self.sensor.currentData():
            told["sensor"] = self.sensor.currentData()
        if self.date.text().strip():
            told["date"] = self.date.text().strip()
        if self._compared:
            told["role"] = self.moment.currentData()
        return input_of(layer, self.modality, **told)

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self.layer, 0, 0)
        grid.addWidget(self.moment, 0, 1)
        grid.addWidget(self.more, 0, 2)
        grid.addWidget(self.drop, 0, 3)
        self._fold = QWidget()
        inner = QGridLayout(self._fold)
        inner.setContentsMargins(12, 0, 0, 4)
        inner.addWidget(self.sensor, 0, 0)
        inner.addWidget(self.date, 0, 1)
        inner.addWidget(self.told, 1, 0, 1, 2)
        inner.setColumnStretch(0, 2)
        inner.setColumnStretch(1, 1)
        grid.addWidget(self._fold, 1, 0, 1, 4)
        grid.setColumnStretch(0, 1)
        self._fold.setVisible(False)

    def _unfold(self, open_: bool) -> None:
        self._fold.setVisible(open_)


class ModalityRows(QWidget):
    """The layers of one modality: one, and with the plus button any number of dates."""

    changed = pyqtSignal()

    def __init__(self, modality: str) -> None:
        super().__init__()
        self.modality = modality
        self._sensors: Sequence[tuple[str, str]] = ()
        self._compared = False
        self.rows: list[LayerRow] = []
        self._title = QLabel(title_of(modality))
        self.more = QToolButton()
        self.more.setText("+")
        self.more.setToolTip(translate("Add a layer of another date"))
        self.more.clicked.connect(self.add)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self._title, 0, 0)
        grid.addWidget(self.more, 0, 1)
        grid.setColumnStretch(0, 1)
        self._box = QVBoxLayout()
        self._box.setSpacing(2)
        grid.addLayout(self._box, 1, 0, 1, 2)
        self.add()

    def add(self) -> LayerRow:
        """Another row."""
        row = LayerRow(self.modality, self._sensors, first=not self.rows)
        row.compare(self._compared)
        row.moment.setCurrentIndex(min(1, len(self.rows)))  # the first is the earlier one
        row.changed.connect(self.changed)
        row.removed.connect(lambda: self.remove(row))
        self.rows.append(row)
        self._box.addWidget(row)
        return row

    def remove(self, row: LayerRow) -> None:
        """Take a row away."""
        self.rows.remove(row)
        self._box.removeWidget(row)
        row.deleteLater()
        self.changed.emit()

    def set_sensors(self, sensors: Sequence[tuple[str, str]]) -> None:
        """Offer these sensors in every row."""
        self._sensors = sensors
        for row in self.rows:
            row.set_sensors(sensors)

    def compare(self, on: bool) -> None:
        """Show two rows at least and ask of which date each is, or do not."""
        self._compared = on
        for row in self.rows:
            row.compare(on)
        if on and len(self.rows) == 1:
            self.add()
        elif not on and len(self.rows) > 1 and self.rows[-1].layer.currentLayer() is None:
            self.remove(self.rows[-1])


class InputsSection(QWidget):
    """All modalities, and below them in words what is wrong or what will happen."""

    changed = pyqtSignal()

    def __init__(self) -> None:
        super().__init__()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        self.modalities = {name: ModalityRows(name) for name in MODALITIES}
        for rows in self.modalities.values():
            rows.changed.connect(self.changed)
            box.addWidget(rows)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.words.setObjectName("input-words")
        box.addWidget(self.words)

    def set_sensors(self, sensors: Sequence[dict[str, Any]]) -> None:
        """Offer the catalogue's sensors, each in its modality's rows."""
        for name, rows in self.modalities.items():
            rows.set_sensors([(s["name"], s["title"]) for s in sensors if s["modality"] == name or name == "raster"])

    def compare(self, on: bool) -> None:
        """Whether the layers are of two dates that are compared."""
        for rows in self.modalities.values():
            rows.compare(on)

    @property
    def layers(self) -> list[Any]:
        """The chosen layers, in the order of the rows."""
        rows = (row for rows in self.modalities.values() for row in rows.rows)
        return [row.layer.currentLayer() for row in rows if row.layer.currentLayer() is not None]

    def specs(self) -> tuple[InputSpec, ...]:
        """The inputs.

        Raises:
            InputError: a layer cannot be read, or what is told of it cannot be understood.
        """
        rows = (row for rows in self.modalities.values() for row in rows.rows)
        return tuple(spec for spec in (row.spec() for row in rows) if spec is not None)

    def online(self) -> list[Any]:
        """The chosen layers that must be exported first."""
        return [layer for layer in self.layers if needs_export(layer)]

    def say(self, lines: Sequence[str], problem: bool = False) -> None:
        """Show what is wrong, or what will happen to the inputs."""
        mark = "⚠ " if problem else ""
        self.words.setText("\n".join(mark + plain(line) for line in lines))
        self.words.setVisible(bool(lines))
