"""Section *Model*: packages that fit, first; the others grey, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor, QIcon, QPixmap
from qgis.PyQt.QtWidgets import QAbstractItemView, QLabel, QTreeWidget, QTreeWidgetItem, QVBoxLayout, QWidget

from ..text import plain, translate

REFERENCE = int(Qt.ItemDataRole.UserRole)
_LINES = 5  # rows that the list shows without scrolling


class ModelSection(QWidget):
    """The list of models, and what is to be known of the chosen one."""

    changed = pyqtSignal()

    def __init__(self) -> None:
        super().__init__()
        self._entries: dict[str, dict[str, Any]] = {}
        self.list = QTreeWidget()
        self.list.setObjectName("models")
        self.list.setHeaderHidden(True)
        self.list.setRootIsDecorated(True)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.list.setFixedHeight(self.list.fontMetrics().height() * (_LINES + 1))
        self.list.setWordWrap(True)
        self.about = QLabel()
        self.about.setWordWrap(True)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.list)
        box.addWidget(self.about)
        self.list.itemSelectionChanged.connect(self._selected)

    def show_models(self, entries: Sequence[dict[str, Any]]) -> None:
        """Show the packages; the choice stays where it can."""
        before = self.reference
        self._entries = {entry["reference"]: entry for entry in entries}
        self.list.blockSignals(True)
        self.list.clear()
        for entry in entries:
            self.list.addTopLevelItem(_item(entry))
        usable = [entry["reference"] for entry in entries if not entry["problem"]]
        self.choose(before if before in usable else usable[0] if usable else "")
        self.list.blockSignals(False)
        self._selected()

    def choose(self, reference: str) -> None:
        """Select a package."""
        for number in range(self.list.topLevelItemCount()):
            item = self.list.topLevelItem(number)
            if item.data(0, REFERENCE) == reference:
                self.list.setCurrentItem(item)

    @property
    def reference(self) -> str:
        """The chosen package; "" for none."""
        items = self.list.selectedItems()
        return str(items[0].data(0, REFERENCE) or "") if items else ""

    @property
    def entry(self) -> Optional[dict[str, Any]]:
        """What is known of the chosen package."""
        return self._entries.get(self.reference)

    def _selected(self) -> None:
        entry = self.entry
        self.about.setText("" if entry is None else words_of(entry))
        self.changed.emit()


def words_of(entry: dict[str, Any]) -> str:
    """Licence, pixel size and training of a package, for people."""
    lines = [plain(entry["about"])] if entry["about"] else []
    sizes = [f"{low:g}–{high:g} m" for low, high in entry["gsd_m"] if high and high != float("inf")]
    facts = [translate("licence {}").format(entry["licence"])]
    if sizes:
        facts.append(translate("pixels of {}").format(", ".join(dict.fromkeys(sizes))))
    if entry["training"]:
        facts.append(translate("trained on {}").format(entry["training"]))
    return "\n".join([*lines, "; ".join(facts)])


def _item(entry: dict[str, Any]) -> QTreeWidgetItem:
    item = QTreeWidgetItem([entry["title"]])
    item.setData(0, REFERENCE, entry["reference"])
    item.setToolTip(0, entry["problem"] or words_of(entry))
    if entry["problem"]:
        item.setFlags(Qt.ItemFlag.ItemIsEnabled)
        item.setForeground(0, QColor(Qt.GlobalColor.gray))
        reason = QTreeWidgetItem([plain(entry["problem"])])
        reason.setFlags(Qt.ItemFlag.NoItemFlags)
        item.addChild(reason)
        return item
    for classes in entry["classes"]:
        for one in classes:
            child = QTreeWidgetItem([one["name"]])
            child.setIcon(0, _patch(one["color"]))
            child.setFlags(Qt.ItemFlag.ItemIsEnabled)
            item.addChild(child)
    return item


def _patch(color: str) -> QIcon:
    pixmap = QPixmap(12, 12)
    pixmap.fill(QColor(color))
    return QIcon(pixmap)
