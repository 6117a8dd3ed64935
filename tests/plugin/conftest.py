"""What the plugin's tests share: a window with real menus, toolbar and message bar, as QGIS gives it to plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest


class Interface:
    """The part of QGIS's interface that the plugin uses, on real widgets."""

    def __init__(self) -> None:
        from qgis.gui import QgsMapCanvas, QgsMessageBar
        from qgis.PyQt.QtWidgets import QMainWindow, QToolBar

        self.window = QMainWindow()
        self.bar = QgsMessageBar(self.window)
        self.toolbar = QToolBar(self.window)
        self.menus: dict[str, Any] = {}
        self.canvas = QgsMapCanvas(self.window)
        self.docks: list[Any] = []
        self.active: Any = None

    def mainWindow(self) -> Any:
        return self.window

    def messageBar(self) -> Any:
        return self.bar

    def mapCanvas(self) -> Any:
        return self.canvas

    def activeLayer(self) -> Any:
        return self.active

    def addDockWidget(self, place: Any, dock: Any) -> None:
        self.window.addDockWidget(place, dock)
        self.docks.append(dock)

    def removeDockWidget(self, dock: Any) -> None:
        self.window.removeDockWidget(dock)
        self.docks.remove(dock)

    def addToolBarIcon(self, action: Any) -> None:
        self.toolbar.addAction(action)

    def removeToolBarIcon(self, action: Any) -> None:
        self.toolbar.removeAction(action)

    def addPluginToRasterMenu(self, name: str, action: Any) -> None:
        if name not in self.menus:
            self.menus[name] = self.window.menuBar().addMenu(name)
        self.menus[name].addAction(action)

    def removePluginRasterMenu(self, name: str, action: Any) -> None:
        self.menus[name].removeAction(action)
        if not self.menus[name].actions():
            self.window.menuBar().removeAction(self.menus.pop(name).menuAction())


@pytest.fixture
def interface(qgis_app: Any) -> Iterator[Interface]:
    """An interface of its own for each test."""
    made = Interface()
    yield made
    made.window.deleteLater()


@pytest.fixture
def plugin(interface: Interface) -> Iterator[Any]:
    """The plugin, loaded as QGIS loads it, and unloaded at the end."""
    from earthprism import classFactory

    made = classFactory(interface)
    made.initGui()
    yield made
    made.unload()


@pytest.fixture
def python_setting(qgis_app: Any) -> Iterator[Callable[[str], None]]:
    """Sets the user's choice of the backend's Python and takes it back."""
    from qgis.core import QgsSettings

    yield lambda path: QgsSettings().setValue("earthprism/python", path)
    QgsSettings().remove("earthprism/python")


@pytest.fixture
def wait(qgis_app: Any) -> Callable[[Callable[[], Any]], Any]:
    """Lets QGIS work until a condition holds, and returns its value."""
    import time

    from qgis.PyQt.QtCore import QCoreApplication

    def until(condition: Callable[[], Any], patience_s: float = 60) -> Any:
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            QCoreApplication.processEvents()
            found = condition()
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError("it did not happen")

    return until
