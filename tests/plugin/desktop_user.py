"""Run inside desktop QGIS by test_desktop.py: clicks the action, waits for the answer, unloads, reports, leaves."""

import json
import os
import sys

from qgis import utils
from qgis.core import QgsProject
from qgis.PyQt.QtCore import QCoreApplication, QEvent, QTimer
from qgis.PyQt.QtWidgets import QAction, QMenu, QToolBar

NAME = "earthprismCheckBackend"
PATIENCE = 300  # steps of 200 ms
seen = {}
steps = 0


def holders(kind):
    """How many menus or toolbars hold the plugin's action."""
    window = utils.iface.mainWindow()
    return sum(NAME in [action.objectName() for action in holder.actions()] for holder in window.findChildren(kind))


def start():
    """Click, once the plugin is there."""
    action = utils.iface.mainWindow().findChild(QAction, NAME)
    seen.update(loaded="earthprism" in utils.plugins, in_raster_menu=holders(QMenu), in_toolbar=holders(QToolBar))
    if action is None:
        finish()
    else:
        action.trigger()
        follow()


def follow():
    """Wait for the message."""
    global steps
    steps += 1
    item = utils.iface.messageBar().currentItem()
    if item is None or item.title() != "EarthPrism":
        if steps < PATIENCE:
            QTimer.singleShot(200, follow)
        else:
            finish()
        return
    seen.update(message=item.text(), level=int(item.level()))
    utils.unloadPlugin("earthprism")
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    left = [child.objectName() for child in utils.iface.mainWindow().findChildren(QAction)]
    seen["left"] = [name for name in left if name.startswith("earthprism")]
    seen["modules"] = [name for name in ("torch", "onnxruntime", "rasterio") if name in sys.modules]
    finish()


def finish():
    """Report and leave without a question."""
    with open(os.environ["EARTHPRISM_REPORT"], "w") as target:
        json.dump(seen, target)
    QgsProject.instance().clear()
    QgsProject.instance().setDirty(False)
    QTimer.singleShot(5000, lambda: os._exit(3))
    utils.iface.actionExit().trigger()


QTimer.singleShot(1000, start)
