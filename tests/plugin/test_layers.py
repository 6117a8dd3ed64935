"""Results on the map: live while they grow, final at the end; with a real backend."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("qgis.core", reason="needs QGIS's Python: scripts/test plugin")

from earthprism.backend.protocol.jobs import ComputeSpec, InputSpec, SegmentJob
from earthprism.backend.protocol.messages import ChunkWritten
from earthprism.plugin.backend import Backend
from earthprism.plugin.jobs import Run
from earthprism.plugin.layers import RunLayers
from earthprism.plugin.results import CLASSES, CONFIDENCE, POLYGONS, Output
from qgis.core import QgsApplication, QgsProject, QgsRaster

from tests.plugin.scene import lake


@pytest.fixture
def backend(light_python, python_setting):
    python_setting(str(light_python))
    made = Backend()
    yield made
    made.close()


@pytest.fixture
def follow(backend, qgis_new_project, wait):
    """Runs a job in QGIS's task manager with its layers; returns the layers, the end and all events."""

    def start(job, until=None, listen=None):
        run = Run("lake", job, backend)
        layers = RunLayers(run, "Lake, water", QgsProject.instance())
        ends, seen = [], []
        run.ended.connect(ends.append)
        run.told.connect(seen.append)
        if listen is not None:
            run.told.connect(listen)
        QgsApplication.taskManager().addTask(run)
        if until is not None:
            wait(lambda: any(until(event) for event in seen))
            run.cancel()
        wait(lambda: ends)
        return layers, ends[0], seen

    return start


def job_of(scene, folder, **changes):
    target = str(folder / "water.tif")
    spec = InputSpec("ms", (str(scene),))
    return SegmentJob((spec,), ("water-baseline-s2",), target, **changes)


def legend_of(layer):
    return {int(item.value): (item.label, item.color.name()) for item in layer.renderer().classes()}


def test_a_finished_run_is_a_group_of_styled_dated_layers(follow, tmp_path):
    confidence, polygons = str(tmp_path / "sure.tif"), str(tmp_path / "lake.gpkg")
    job = job_of(lake(tmp_path / "lake.tif"), tmp_path, confidence=confidence, polygons=polygons)
    layers, ending, _ = follow(job)
    assert ending.error is None
    group = QgsProject.instance().layerTreeRoot().findGroup("Lake, water")
    assert [child.name() for child in group.children()] == ["polygons", "confidence", "classes"]
    classes = layers.layer(Output(CLASSES))
    assert classes.source() == job.output
    assert legend_of(classes) == {0: ("no water", "#d9c8a3"), 1: ("water", "#1f6fb4")}
    assert layers.layer(Output(CONFIDENCE)).renderer().shader() is not None
    categories = layers.layer(Output(POLYGONS)).renderer().categories()
    assert [category.value() for category in categories] == ["no water", "water"]
    temporal = classes.temporalProperties()
    assert temporal.isActive() and temporal.fixedTemporalRange().begin().date().toString("yyyy-MM-dd") == "2020-06-15"
    record = json.loads(classes.metadata().abstract())
    assert record["models"][0]["sha256"] in classes.metadata().history()[1]


def is_chunk(event):
    return isinstance(event, ChunkWritten)


def test_parts_are_on_the_map_while_the_run_goes_on_and_the_layer_stays_the_same(follow, tmp_path):
    shown = []

    def look(event):
        shown.extend((layer.id(), layer.source()) for layer in QgsProject.instance().mapLayers().values())

    job = job_of(lake(tmp_path / "lake.tif", size=2600), tmp_path)
    layers, ending, seen = follow(job, listen=look)
    assert ending.error is None and len(list(filter(is_chunk, seen))) > 1
    (identity,) = {identity for identity, _ in shown}
    assert shown[0][1].endswith(".vrt")
    final = layers.layer(Output(CLASSES))
    assert final.id() == identity and final.source() == job.output
    assert final.dataProvider().identify(
        final.extent().center(), QgsRaster.IdentifyFormat.IdentifyFormatValue
    ).results() == {1: 1.0}


def test_a_cancelled_run_keeps_its_layer_and_running_again_goes_on_in_it(follow, tmp_path):
    scene = lake(tmp_path / "lake.tif", size=3400)
    layers, ending, _ = follow(job_of(scene, tmp_path), until=is_chunk)
    assert ending.cancelled
    before = layers.layer(Output(CLASSES))
    assert before is not None and before.source().endswith(".vrt") and before.isValid()
    layers, ending, _ = follow(job_of(scene, tmp_path, if_exists="resume"))
    assert ending.error is None
    after = layers.layer(Output(CLASSES))
    assert after.id() == before.id() and after.source().endswith("water.tif")


def test_showing_a_growing_raster_does_not_write_to_it(follow, tmp_path):
    confidence = str(tmp_path / "sure.tif")
    job = job_of(lake(tmp_path / "lake.tif", size=3400), tmp_path, confidence=confidence)
    layers, ending, _ = follow(job, until=is_chunk)
    assert ending.cancelled and layers.layer(Output(CONFIDENCE)) is not None
    lists = sorted((tmp_path / "water.tif.parts").glob("*.vrt"))
    before = [path.read_bytes() for path in lists]
    for layer in QgsProject.instance().mapLayers().values():
        layer.dataProvider().reloadData()
    QgsProject.instance().clear()
    assert len(lists) == 2 and [path.read_bytes() for path in lists] == before
    assert list((tmp_path / "water.tif.parts").rglob("*.aux.xml")) == []


def test_layers_that_the_user_removed_do_not_come_back(follow, tmp_path):
    job = job_of(lake(tmp_path / "lake.tif", size=2600), tmp_path)
    _, ending, _ = follow(job, listen=lambda event: QgsProject.instance().removeAllMapLayers())
    assert ending.error is None and QgsProject.instance().mapLayers() == {}


def test_a_failing_job_says_why_and_shows_nothing(follow, tmp_path):
    job = job_of(tmp_path / "no-such.tif", tmp_path, compute=ComputeSpec())
    _, ending, _ = follow(job)
    assert ending.error is not None and "no-such.tif" in ending.error.sentence() and not ending.cancelled
    assert QgsProject.instance().mapLayers() == {}
