"""The plugin as QGIS sees it: registers what the user can click, and takes it away again."""

from __future__ import annotations

from typing import Any, Optional

from qgis.core import Qgis, QgsApplication
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import QAction

from ..backend.protocol.errors import EarthPrismError
from ..backend.protocol.messages import Welcome
from . import settings
from .backend import Backend
from .check import BackendCheck, summary
from .environment import ROOT, find_python
from .processing.provider import EarthPrismProvider
from .text import translate

MENU = "EarthPrism"
# A cancelled check ends when its backend has been stopped, which takes 5 s at worst.
PATIENCE_MS = 8000


class EarthPrismPlugin:
    """Owns the plugin's actions and the tasks they start.

    Args:
        iface: QGIS's interface.
    """

    def __init__(self, iface: Any) -> None:
        self._iface = iface
        self.backend = Backend()
        self._provider: Optional[EarthPrismProvider] = None
        self._actions: list[QAction] = []
        self._check_action: Optional[QAction] = None
        self._dock: Optional[Any] = None
        self._check: Optional[BackendCheck] = None

    def initProcessing(self) -> None:
        """Add the algorithms to the toolbox; under qgis_process this is all there is."""
        self._provider = EarthPrismProvider(self.backend)
        QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self) -> None:
        """Add the actions to the Raster menu, the first of them to the toolbar."""
        self.initProcessing()
        icon = QIcon(str(ROOT / "resources" / "icon.svg"))
        self._add("earthprismDock", translate("EarthPrism"), icon, self.show_dock, toolbar=True)
        text = translate("Check EarthPrism backend")
        self._check_action = self._add("earthprismCheckBackend", text, QIcon(), self.check_backend)

    def show_dock(self) -> None:
        """Open the dock; it is made when it is first wanted."""
        if self._dock is None:
            from .dock.dock import Dock  # what the dock needs is loaded with it, not at QGIS's start

            self._dock = Dock(self._iface, self.backend)
            self._iface.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self._dock)
        self._dock.setUserVisible(True)

    def _add(self, name: str, text: str, icon: QIcon, act: Any, toolbar: bool = False) -> QAction:
        action = QAction(icon, text, self._iface.mainWindow())
        action.setObjectName(name)
        action.triggered.connect(act)
        self._iface.addPluginToRasterMenu(MENU, action)
        if toolbar:
            self._iface.addToolBarIcon(action)
        self._actions.append(action)
        return action

    def unload(self) -> None:
        """Stop what runs, take everything away and end the backend."""
        if self._check is not None:
            self._check.cancel()
            self._check.waitForFinished(PATIENCE_MS)
            self._check = None
        if self._dock is not None:
            self._dock.stop()
            self._iface.removeDockWidget(self._dock)
            self._dock.deleteLater()
            self._dock = None
        for action in self._actions:
            self._iface.removePluginRasterMenu(MENU, action)
            self._iface.removeToolBarIcon(action)
            action.deleteLater()
        self._actions.clear()
        self._check_action = None
        if self._provider is not None:
            QgsApplication.processingRegistry().removeProvider(self._provider)
            self._provider = None
        self.backend.close()

    def check_backend(self) -> None:
        """Start the backend in a task and report in the message bar."""
        if self._check_action is None or self._check is not None:
            return
        try:
            python = find_python(settings.backend_python(), settings.environments())
        except EarthPrismError as error:
            self._show(str(error), Qgis.MessageLevel.Warning)
            return
        self._check_action.setEnabled(False)
        self._check = BackendCheck(python, self._report)
        QgsApplication.taskManager().addTask(self._check)

    def _report(self, welcome: Optional[Welcome], error: Optional[EarthPrismError]) -> None:
        self._check = None
        if self._check_action is not None:
            self._check_action.setEnabled(True)
        if welcome is not None:
            self._show(summary(welcome), Qgis.MessageLevel.Success)
        elif error is not None:
            self._show(str(error), Qgis.MessageLevel.Critical)

    def _show(self, text: str, level: Any) -> None:
        self._iface.messageBar().pushMessage(MENU, text, level, 0)
