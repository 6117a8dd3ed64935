"""Run inside QGIS by scripts/demo.py: a user with the dock open, who picks layers, runs tasks, looks and saves.

DEMO names a JSON file: "folder" for the results, "steps" as in scripts/demo.py, "truth" (class rasters by result),
"stay" whether QGIS stays open, "size" of its window. What came of it is written to report.json in that folder.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from osgeo import gdal
from qgis import utils
from qgis.core import (
    Qgis,
    QgsContrastEnhancement,
    QgsMultiBandColorRenderer,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
)
from qgis.PyQt.QtCore import QTimer
from qgis.PyQt.QtWidgets import QAction, QDockWidget

PATIENCE = 6000  # steps of 100 ms for a run
CUT = (0.02, 0.9)  # shares of the pixels that are shown as black and white; clouds are among the brightest
COLORS = {"red": ("B04", "B4", "red"), "green": ("B03", "B3", "green"), "blue": ("B02", "B2", "blue")}
demo = json.loads(Path(os.environ["DEMO"]).read_text("utf-8"))
folder = Path(demo["folder"])
window = utils.iface.mainWindow()
project = QgsProject.instance()
report = {"runs": []}
layers = {}


def begin():
    """Load the layers and open the dock."""
    for panel in window.findChildren(QDockWidget):
        panel.setVisible(panel.objectName() == "Layers")
    window.setGeometry(0, 0, *demo["size"])
    for path in demo["layers"]:
        layers[path] = loaded(path)
    project.setCrs(next(iter(layers.values())).crs())
    project.setFilePathStorage(Qgis.FilePathType.Relative)
    window.findChild(QAction, "earthprismDock").trigger()
    utils.iface.mapCanvas().setExtent(everything())
    QTimer.singleShot(500, lambda: step(list(demo["steps"])))


def everything():
    """The extent of all layers in the project's CRS."""
    extent = QgsRectangle()
    for layer in layers.values():
        extent.combineExtentWith(utils.iface.mapCanvas().mapSettings().layerExtentToOutputExtent(layer, layer.extent()))
    return extent


def loaded(path):
    """The layer of a raster, in natural colours where it has them."""
    layer = QgsRasterLayer(path, Path(path).stem)
    if not layer.isValid():
        leave(f"QGIS cannot open {path}.")
    names = [layer.bandName(band).split(":")[-1].strip() for band in range(1, layer.bandCount() + 1)]
    found = [next((names.index(name) + 1 for name in names_of if name in names), 0) for names_of in COLORS.values()]
    if all(found):
        renderer = QgsMultiBandColorRenderer(layer.dataProvider(), *found)
        for color, band in zip(COLORS, found, strict=True):
            stretch = QgsContrastEnhancement(layer.dataProvider().dataType(band))
            stretch.setContrastEnhancementAlgorithm(stretch.ContrastEnhancementAlgorithm.StretchToMinimumMaximum)
            low, high = layer.dataProvider().cumulativeCut(band, *CUT)
            stretch.setMinimumValue(low)
            stretch.setMaximumValue(high)
            getattr(renderer, f"set{color.title()}ContrastEnhancement")(stretch)
        layer.setRenderer(renderer)
    project.addMapLayer(layer)
    project.layerTreeRoot().findLayer(layer.id()).setExpanded(False)
    return layer


def step(left):
    """The next run; after the last one, save and leave."""
    if not left:
        QTimer.singleShot(2500, end)
        return
    this, dock = left[0], window.findChild(QDockWidget, "EarthPrismDock")
    dock.task.setCurrentIndex(dock.task.findData(this["task"]))
    used = {}
    for chosen in this["inputs"]:
        rows = dock.inputs.modalities[chosen["modality"]].rows
        number = used.get(chosen["modality"], 0)
        used[chosen["modality"]] = number + 1
        row = rows[number] if number < len(rows) else dock.inputs.modalities[chosen["modality"]].add()
        row.layer.setLayer(layers[chosen["path"]])
        row.told.setText(chosen.get("told", ""))
    dock.output.mask.setLayer(layers.get(this.get("mask", "")))
    dock.output.file.setFilePath(str(folder / this["result"]))
    dock.output.polygons.setChecked(True)
    dock.output.changed.emit()

    def run():
        dock.runs.button.click()
        panel = dock.runs.panels[0]
        wait(lambda: not panel.under_way, lambda: over(panel, this, left[1:]), "a run did not end")

    wait(
        lambda: dock.models.reference and "windows" in dock.runs.estimate.text() and settled(dock),
        run,
        "no model takes these layers",
        400,
    )


def settled(dock):
    """Whether what is shown belongs to what is chosen: no question is under way."""
    return not dock._questions and not dock._fit_timer.isActive() and not dock._plan_timer.isActive()


def over(panel, this, left):
    """Note what came of a run."""
    target = folder / this["result"]
    told = {"result": this["result"], "task": this["task"], "words": panel.words.text()}
    if not target.is_file():
        leave(panel.words.text())
        return
    if this.get("truth"):
        told["iou"] = agreement(target, this["truth"])
    report["runs"].append(told)
    step(left)


def agreement(target, truth):
    """Intersection over union of the class that the truth calls so, on the pixels that have a result."""
    found = gdal.Open(str(target)).ReadAsArray()
    known = [np.isin(gdal.Open(path).ReadAsArray(), truth["values"]) for path in truth["files"]]
    wanted = known[0] if len(known) == 1 else known[0] != known[1]
    is_it = np.isin(found, truth["found"])
    valid = found != 255
    return round(float((is_it & wanted & valid).sum() / ((is_it | wanted) & valid).sum()), 3)


def end():
    """Save the project and a picture of the window."""
    root = project.layerTreeRoot()
    for layer in layers.values():
        root.findLayer(layer.id()).setItemVisibilityChecked(layer is next(iter(layers.values())))
    for number, group in enumerate(root.findGroups()):  # the last result is on top
        group.setItemVisibilityChecked(number == 0)
        group.setExpanded(False)
        group.setExpanded(number == 0)
        for child in group.children():
            child.setExpanded(child.name() == "classes")
    utils.iface.messageBar().clearWidgets()
    bar = window.findChild(QDockWidget, "EarthPrismDock").widget().verticalScrollBar()
    bar.setValue(bar.maximum())
    project.write(str(folder / "project.qgz"))
    QTimer.singleShot(3000, last)


def last():
    """The picture, and the end."""
    window.grab().save(str(folder / "map.png"))
    leave("")


def leave(problem):
    """Write the report; close QGIS unless it shall stay."""
    report["problem"] = problem
    (folder / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False), "utf-8")
    if demo["stay"] and not problem:
        return
    project.clear()
    project.setDirty(False)
    QTimer.singleShot(5000, lambda: os._exit(3))
    utils.iface.actionExit().trigger()


def wait(condition, then, problem, left=PATIENCE):
    """Go on when the condition holds."""
    if condition():
        then()
    elif left:
        QTimer.singleShot(100, lambda: wait(condition, then, problem, left - 1))
    else:
        dock = window.findChild(QDockWidget, "EarthPrismDock")
        leave(" ".join([problem + ":", dock.inputs.words.text(), dock.runs.estimate.text(), dock.state.text()]))


QTimer.singleShot(1500, begin)
