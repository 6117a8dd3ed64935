"""The dock with a real backend: what is offered, what is said, a run from the button to the map."""

from __future__ import annotations

import json
import math

import pytest

pytest.importorskip("qgis.core", reason="needs QGIS's Python: scripts/test plugin")

from earthprism.plugin import settings
from earthprism.plugin.environment import find_python, interpreter
from osgeo import gdal
from qgis.core import QgsApplication, QgsFeature, QgsGeometry, QgsProject, QgsRasterLayer, QgsRectangle
from qgis.PyQt.QtCore import QCoreApplication, QEvent, Qt
from qgis.PyQt.QtGui import QGuiApplication

from tests.plugin.scene import lake


@pytest.fixture
def dock(plugin, interface, light_python, python_setting, qgis_new_project):
    python_setting(str(light_python))
    plugin.show_dock()
    (made,) = interface.docks
    return made


@pytest.fixture
def layer(tmp_path, qgis_new_project):
    made = QgsRasterLayer(str(lake(tmp_path / "lake.tif")), "lake")
    QgsProject.instance().addMapLayer(made)
    return made


def choose(dock, modality, layer):
    dock.inputs.modalities[modality].rows[0].layer.setLayer(layer)


def offered(dock):
    """Reference and whether it can be chosen, of every model in the list."""
    items = [dock.models.list.topLevelItem(n) for n in range(dock.models.list.topLevelItemCount())]
    return {item.text(0): bool(item.flags() & Qt.ItemFlag.ItemIsSelectable) for item in items}


def test_without_layers_every_model_of_the_task_is_offered(dock, wait):
    found = wait(lambda: offered(dock))
    assert len(found) == 2 and all(found.values())
    assert "layer" in wait(lambda: dock.runs.estimate.text())


def test_models_that_do_not_fit_are_grey_and_say_why(dock, layer, wait):
    choose(dock, "ms", layer)
    wait(lambda: sorted(offered(dock).values()) == [False, True])
    chosen = dock.models.entry
    assert chosen["name"] == "water-baseline-s2" and chosen["problem"] == ""
    grey = dock.models.list.topLevelItem(1)
    assert "takes no multispectral input" in grey.child(0).text(0)
    assert [dock.models.list.topLevelItem(0).child(n).text(0) for n in range(2)] == ["no water", "water"]


def test_the_estimate_says_windows_time_memory_and_device(dock, layer, wait, tmp_path):
    choose(dock, "ms", layer)
    dock.output.file.setFilePath(str(tmp_path / "water.tif"))
    text = wait(lambda: "windows" in dock.runs.estimate.text() and dock.runs.estimate.text())
    assert text.startswith("1 windows") and "cpu" in text and "GB" in text


def test_what_the_file_leaves_open_is_said_and_can_be_answered(dock, wait, tmp_path, qgis_new_project):
    recent = QgsRasterLayer(str(lake(tmp_path / "recent.tif", date="2023-06-15")), "recent")
    QgsProject.instance().addMapLayer(recent)
    choose(dock, "ms", recent)
    assert wait(lambda: "offset" in dock.inputs.words.text()) and dock.models.reference == ""
    row = dock.inputs.modalities["ms"].rows[0]
    row.told.setText("offset=0")
    row.told.editingFinished.emit()
    wait(lambda: dock.models.reference == "water-baseline-s2@1.0.0")


def test_a_run_through_the_dock(dock, layer, wait, tmp_path):
    choose(dock, "ms", layer)
    wait(lambda: dock.models.reference)
    dock.output.file.setFilePath(str(tmp_path / "out" / "water"))
    dock.output.polygons.setChecked(True)
    dock.runs.button.click()
    (panel,) = dock.runs.panels
    wait(lambda: not panel.under_way)
    assert "water 2" in panel.words.text() and "ha" in panel.words.text(), panel.words.text()
    group = QgsProject.instance().layerTreeRoot().findGroup("water")
    assert [child.name() for child in group.children()] == ["polygons", "confidence", "classes"]
    assert gdal.Open(str(tmp_path / "out" / "water.tif")).ReadAsArray()[150, 150] == 1


def test_change_between_two_dates_through_the_dock(dock, layer, wait, tmp_path):
    later = QgsRasterLayer(str(lake(tmp_path / "later.tif", date="2020-09-15", radius=0.2)), "later")
    QgsProject.instance().addMapLayer(later)
    choose(dock, "ms", layer)
    dock.task.setCurrentIndex(dock.task.findData("change"))
    rows = dock.inputs.modalities["ms"].rows
    assert [row.moment.currentData() for row in rows] == ["before", "after"]
    assert "later date" in wait(lambda: "date" in dock.runs.estimate.text() and dock.runs.estimate.text())
    rows[1].layer.setLayer(later)
    wait(lambda: dock.models.reference == "water-baseline-s2@1.0.0" and "windows" in dock.runs.estimate.text())
    dock.output.file.setFilePath(str(tmp_path / "change.tif"))
    dock.runs.button.click()
    (panel,) = dock.runs.panels
    wait(lambda: not panel.under_way)
    assert "water to no water" in panel.words.text(), panel.words.text()
    dock.task.setCurrentIndex(dock.task.findData("segment"))
    assert [row.spec().role for row in rows] == ["", ""]


def test_learning_from_polygons_that_are_drawn_in_a_new_layer(
    dock, layer, wait, tmp_path, monkeypatch, plugin, interface
):
    monkeypatch.setenv("EARTHPRISM_HOME", str(tmp_path / "home"))
    plugin.backend.close()  # it reads its home when it starts
    interface.setActiveLayer = lambda active: None
    choose(dock, "ms", layer)
    dock.task.setCurrentIndex(dock.task.findData("learn"))
    assert dock.labels.isVisibleTo(dock)
    dock.output.file.setFilePath(str(tmp_path / "lakes.tif"))
    wait(lambda: "labels" in dock.runs.estimate.text())
    dock.labels.new.click()
    drawn = dock.labels.layer.currentLayer()
    assert drawn.isEditable() and drawn.crs() == layer.crs() and dock.labels.field.currentField() == "class"
    for name, radius in (("lake", 400), ("land", 1200)):
        for step in range(8):
            x, y = 501_500 + radius * math.cos(step * 0.785), 4_198_500 + radius * math.sin(step * 0.785)
            feature = QgsFeature(drawn.fields())
            feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(x - 30, y - 30, x + 30, y + 30)))
            feature.setAttribute("class", name)
            assert drawn.addFeature(feature)
    dock.labels.save.setText("lakes")
    dock.labels.save.editingFinished.emit()
    wait(lambda: dock.models.reference == "bands-s2@1.0.0" and "windows" in dock.runs.estimate.text())
    dock.runs.button.click()
    (panel,) = dock.runs.panels
    wait(lambda: not panel.under_way)
    assert "lakes@1.0.0" in panel.words.text() and "100% right" in panel.words.text(), panel.words.text()
    classes = gdal.Open(str(tmp_path / "lakes.tif")).ReadAsArray()
    assert classes[150, 150] == 0 and classes[10, 150] == 1
    assert (tmp_path / "lakes-labels.gpkg").is_file()
    group = QgsProject.instance().layerTreeRoot().findGroup("lakes")
    assert [child.name() for child in group.children()] == ["confidence", "classes"]
    drawn.rollBack()


def test_the_map_view_as_area(dock, layer, wait, tmp_path, interface):
    choose(dock, "ms", layer)
    wait(lambda: dock.models.reference)
    extent = layer.extent()
    extent.scale(0.2)
    interface.canvas.resize(200, 200)
    interface.canvas.setDestinationCrs(layer.crs())
    interface.canvas.setExtent(extent)
    dock.area.kind.setCurrentIndex(dock.area.kind.findData("view"))
    dock.output.file.setFilePath(str(tmp_path / "part.tif"))
    dock.runs.button.click()
    wait(lambda: not dock.runs.panels[0].under_way)
    part, seen = gdal.Open(str(tmp_path / "part.tif")), interface.canvas.extent().intersect(layer.extent())
    assert part.RasterXSize == pytest.approx(seen.width() / 10, abs=2) and part.RasterXSize < 300
    assert part.RasterYSize == pytest.approx(seen.height() / 10, abs=2)


def test_an_interrupted_run_goes_on_from_its_panel(dock, wait, tmp_path, qgis_new_project):
    large = QgsRasterLayer(str(lake(tmp_path / "large.tif", size=3400)), "large")
    QgsProject.instance().addMapLayer(large)
    choose(dock, "ms", large)
    wait(lambda: dock.models.reference)
    dock.output.file.setFilePath(str(tmp_path / "water.tif"))
    dock.runs.button.click()
    panel = dock.runs.panels[0]
    wait(lambda: QgsProject.instance().layerTreeRoot().findGroup("water"))
    panel.stop.click()
    wait(lambda: not panel.under_way)
    assert "stays on the map" in panel.words.text()
    panel.resume.click()
    wait(lambda: not dock.runs.panels[0].under_way, patience_s=120)
    assert "Done" in dock.runs.panels[0].words.text()
    assert (tmp_path / "water.tif").is_file() and not (tmp_path / "water.tif.parts").exists()


def test_what_lacks_is_said_and_nothing_starts(dock, wait, interface):
    wait(lambda: offered(dock))
    dock.runs.button.click()
    assert "layer" in interface.bar.currentItem().text() and dock.runs.panels == []


def test_the_suggested_file_is_not_in_the_temporary_folder_and_new(dock, layer, wait, tmp_path):
    QgsProject.instance().setFileName(str(tmp_path / "project.qgz"))
    choose(dock, "ms", layer)
    wait(lambda: "water-baseline-s2" in dock.output.file.filePath())
    path = dock.output.file.filePath()
    assert path.startswith(str(tmp_path)) and path.endswith(".tif")


def test_unloading_during_a_run_ends_it_and_the_backend(plugin, dock, wait, tmp_path, interface, qgis_new_project):
    large = QgsRasterLayer(str(lake(tmp_path / "large.tif", size=3400)), "large")
    QgsProject.instance().addMapLayer(large)
    choose(dock, "ms", large)
    wait(lambda: dock.models.reference)
    dock.output.file.setFilePath(str(tmp_path / "water.tif"))
    dock.runs.button.click()
    wait(lambda: QgsProject.instance().layerTreeRoot().findGroup("water"))
    plugin.unload()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    wait(lambda: not QgsApplication.taskManager().activeTasks())
    assert interface.docks == [] and not plugin.backend.alive
    assert not (tmp_path / "water.tif").exists() and (tmp_path / "water.tif.parts").is_dir()


def test_the_backend_is_set_up_checked_renewed_and_removed_from_the_dock(
    plugin, interface, wait, tmp_path, monkeypatch
):
    """With the real installer; what comes of it answers the dock's questions."""
    home = tmp_path / "profile" / "environments"
    monkeypatch.setattr(settings, "environments", lambda: home)
    plugin.show_dock()
    (dock,) = interface.docks
    assert not dock.setup.isVisibleTo(dock)
    dock.more.click()
    assert str(home) in dock.setup.words.text()
    dock.setup.start_button.click()
    assert dock.setup.stop_button.isVisibleTo(dock) and not dock.setup.start_button.isEnabled()
    wait(lambda: dock.setup.start_button.isEnabled(), patience_s=250)
    assert dock.setup.progress.text() == "Done.", dock.setup.progress.text()
    python = interpreter(home / "light")
    assert find_python("", home) == python and not dock.setup.isVisibleTo(dock)
    wait(lambda: offered(dock))
    dock.copy_diagnostics()
    wait(lambda: "onnxruntime" in QGuiApplication.clipboard().text())
    assert str(python) in QGuiApplication.clipboard().text()
    stamp = json.loads((home / "light" / "stamp.json").read_text())
    (home / "light" / "stamp.json").write_text(json.dumps({**stamp, "locks": "of an older version"}))
    dock.setup.check()
    wait(lambda: dock.setup.isVisibleTo(dock))
    assert "another version" in dock.setup.words.text()
    dock.setup.remove_button.click()
    wait(lambda: not home.exists())


def test_a_set_up_is_cancelled_and_one_that_fails_says_why(plugin, interface, wait, tmp_path, monkeypatch):
    home = tmp_path / "environments"
    monkeypatch.setattr(settings, "environments", lambda: home)
    plugin.show_dock()
    (dock,) = interface.docks
    dock.more.click()
    dock.setup.start_button.click()
    wait(lambda: "making" in dock.setup.progress.text())
    dock.setup.stop_button.click()
    wait(lambda: dock.setup.start_button.isEnabled())
    assert "cancelled" in dock.setup.progress.text() and not (home / "light").exists()
    empty = tmp_path / "no wheels"
    empty.mkdir()
    dock.setup.wheels.setFilePath(str(empty))
    dock.setup.start_button.click()
    wait(lambda: dock.setup.start_button.isEnabled(), patience_s=120)
    assert dock.setup.progress.text().startswith("⚠") and not (home / "light").exists()


def test_a_backend_that_is_not_installed_is_said_in_the_dock(plugin, interface, python_setting, wait, tmp_path):
    python_setting(str(tmp_path / "no-python"))
    plugin.show_dock()
    (dock,) = interface.docks
    wait(lambda: dock.state.isVisibleTo(dock))
    assert "no-python" in dock.state.text() and dock.setup.isVisibleTo(dock)
