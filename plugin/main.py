"""The plugin as QGIS sees it: registers what the user can click, and takes it away again."""

from __future__ import annotations

from typing import Any, Optional

from qgis.core import Qgis, QgsApplication
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
        self._action: Optional[QAction] = None
        self._check: Optional[BackendCheck] = None

    def initProcessing(self) -> None:
        """Add the algorithms to the toolbox; under qgis_process this is all there is."""
        self._provider = EarthPrismProvider(self.backend)
        QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self) -> None:
        """Add the action to the Raster menu and the toolbar."""
        self.initProcessing()
        window = self._iface.mainWindow()
        self._action = QAction(
            QIcon(str(ROOT / "resources" / "icon.svg")), translate("Check EarthPrism backend"), window
        )
        self._action.setObjectName("earthprismCheckBackend")
        self._action.triggered.connect(self.check_backend)
        self._iface.addPluginToRasterMenu(MENU, self._action)
        self._iface.addToolBarIcon(self._action)

    def unload(self) -> None:
        """Stop what runs, take everything away and end the backend."""
        if self._check is not None:
            self._check.cancel()
            self._check.waitForFinished(PATIENCE_MS)
            self._check = None
        if self._action is not None:
            self._iface.removePluginRasterMenu(MENU, self._action)
            self._iface.removeToolBarIcon(self._action)
            self._action.deleteLater()
            self._action = None
        if self._provider is not None:
            QgsApplication.processingRegistry().removeProvider(self._provider)
            self._provider = None
        self.backend.close()

    def check_backend(self) -> None:
        """Start the backend in a task and report in the message bar."""
        if self._action is None or self._check is not None:
            return
        try:
            python = find_python(settings.backend_python())
        except EarthPrismError as error:
            self._show(str(error), Qgis.MessageLevel.Warning)
            return
        self._action.setEnabled(False)
        self._check = BackendCheck(python, self._report)
        QgsApplication.taskManager().addTask(self._check)

    def _report(self, welcome: Optional[Welcome], error: Optional[EarthPrismError]) -> None:
        self._check = None
        if self._action is not None:
            self._action.setEnabled(True)
        if welcome is not None:
            self._show(summary(welcome), Qgis.MessageLevel.Success)
        elif error is not None:
            self._show(str(error), Qgis.MessageLevel.Critical)

    def _show(self, text: str, level: Any) -> None:
        self._iface.messageBar().pushMessage(MENU, text, level, 0)
