"""Makes the pictures of the real program: QGIS on a virtual screen, the dock, a run on a scene of the data kit.

    python3 docs/screenshots.py [DATA]        needs qgis, xvfb-run and ImageMagick's import

DATA is the folder of the data kit, by default `../shared/data` or $EARTHPRISM_DATA.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from desktop import start  # noqa: E402  (the scripts are no package)

IMAGES = ROOT / "docs" / "images"
SIZE = (1280, 800)
# What a user would do, inside QGIS: pick a layer, wait for the estimate, run, look.
SESSION = """
import os, subprocess
from qgis import utils
from qgis.core import QgsContrastEnhancement, QgsMultiBandColorRenderer, QgsProject, QgsRasterLayer
from qgis.core import QgsRasterMinMaxOrigin
from qgis.PyQt.QtCore import QTimer
from qgis.PyQt.QtWidgets import QAction, QDockWidget

iface, steps = utils.iface, []

def picture(name):
    subprocess.run(["import", "-window", "root", os.path.join(os.environ["IMAGES"], name)], check=True)

def begin():
    window = iface.mainWindow()
    window.setGeometry(0, 0, {width}, {height})
    for panel in window.findChildren(QDockWidget):
        panel.setVisible(panel.objectName() == "Layers")
    layer = QgsRasterLayer(os.environ["SCENE"], "Boadella 2020-06-21")
    layer.setRenderer(QgsMultiBandColorRenderer(layer.dataProvider(), 4, 3, 2))
    kind = QgsContrastEnhancement.ContrastEnhancementAlgorithm.StretchToMinimumMaximum
    layer.setContrastEnhancement(kind, QgsRasterMinMaxOrigin.Limits.CumulativeCut)
    QgsProject.instance().addMapLayer(layer)
    QgsProject.instance().setCrs(layer.crs())
    window.findChild(QAction, "earthprismDock").trigger()
    iface.mapCanvas().setExtent(layer.extent())
    dock = window.findChild(QDockWidget, "EarthPrismDock")
    dock.inputs.modalities["ms"].rows[0].layer.setLayer(layer)
    dock.output.file.setFilePath(os.path.join(os.environ["RESULTS"], "water.tif"))
    dock.output.polygons.setChecked(True)
    wait(lambda: "windows" in dock.runs.estimate.text(), lambda: run(dock))

def run(dock):
    picture("dock.png")
    dock.runs.button.click()
    wait(lambda: not dock.runs.panels[0].under_way, lambda: QTimer.singleShot(2500, lambda: end(dock)))

def end(dock):
    node = QgsProject.instance().layerTreeRoot().findGroup("water")
    node.setExpanded(True)
    for child in node.children():
        child.setExpanded(child.name() == "classes")
    bar = dock.widget().verticalScrollBar()
    bar.setValue(bar.maximum())
    QTimer.singleShot(1000, lambda: (picture("result.png"), leave()))

def wait(condition, then, left=600):
    if condition():
        then()
    elif left:
        QTimer.singleShot(100, lambda: wait(condition, then, left - 1))
    else:
        leave()

def leave():
    QgsProject.instance().clear()
    QgsProject.instance().setDirty(False)
    QTimer.singleShot(4000, lambda: os._exit(3))
    iface.actionExit().trigger()

QTimer.singleShot(1500, begin)
"""


def main() -> int:
    """Take the pictures; returns an exit code."""
    given = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("EARTHPRISM_DATA")
    data = Path(given or ROOT.parent / "shared" / "data")
    with tempfile.TemporaryDirectory() as scratch:
        code = Path(scratch) / "session.py"
        code.write_text(SESSION.replace("{width}", str(SIZE[0])).replace("{height}", str(SIZE[1])))
        scene = data / "boadella_s2" / "S2_L2A_boadella_2020-06-21.tif"
        variables = {"IMAGES": str(IMAGES), "RESULTS": scratch, "SCENE": str(scene)}
        python = ROOT / ".venv" / "light" / "bin" / "python"
        return start(code, Path(scratch) / "home", python, variables, SIZE)


if __name__ == "__main__":
    sys.exit(main())
