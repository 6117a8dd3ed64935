"""The toolbox's algorithms inside QGIS, with a real backend."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("qgis.core", reason="needs QGIS's Python: scripts/test plugin")

from osgeo import gdal
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsFeature,
    QgsGeometry,
    QgsPointXY,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)

from tests.plugin.scene import lake

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(plugin, light_python, python_setting, qgis_processing, qgis_new_project):
    """`processing.run` of one of the plugin's algorithms."""
    import processing

    python_setting(str(light_python))

    def start(algorithm, feedback=None, **parameters):
        return processing.run(f"earthprism:{algorithm}", parameters, feedback=feedback)

    return start


@pytest.fixture
def scene(tmp_path):
    return lake(tmp_path / "lake.tif")


def classes_of(path):
    return gdal.Open(str(path)).ReadAsArray()


def test_segment_writes_what_the_command_line_writes(run, scene, tmp_path):
    target = tmp_path / "water.tif"
    done = run("segment", MS=[str(scene)], MODEL="water-baseline-s2", OUTPUT=str(target))
    classes = classes_of(target)
    assert done["OUTPUT"] == str(target) and classes.shape == (300, 300)
    assert classes[150, 150] == 1 and classes[5, 5] == 0
    areas = {area["name"]: area["area_m2"] for area in done["AREAS"][0]}
    assert areas["water"] == pytest.approx(3.14159 * 900**2, rel=0.05)


def test_segment_takes_layers_of_the_project_their_date_and_every_output(run, scene, tmp_path):
    layer = QgsRasterLayer(str(scene), "lake")
    QgsProject.instance().addMapLayer(layer)
    files = {name: str(tmp_path / f"{name}.tif") for name in ("OUTPUT", "CONFIDENCE", "PROBABILITIES")}
    polygons = str(tmp_path / "lake.gpkg")
    done = run("segment", MS=[layer.id()], MODEL="water-baseline-s2", MIN_AREA=5000, POLYGONS=polygons, **files)
    assert all(Path(done[name]).is_file() for name in (*files, "POLYGONS"))
    record = json.loads(Path(done["RUN"]).read_text())
    assert record["inputs"][0]["rasters"][0]["date"] == "2020-06-15"


def test_change_says_what_became_what(run, scene, tmp_path):
    """A lake shrinks from 90 to 60 pixels of radius; the later layer lies in another zone."""
    after = lake(tmp_path / "after.tif", date="2020-09-15", radius=0.2)
    warped = tmp_path / "warped.tif"
    gdal.Warp(str(warped), str(after), dstSRS="EPSG:32632", copyMetadata=True, dstNodata=0)
    target, polygons = tmp_path / "change.tif", tmp_path / "change.gpkg"
    done = run(
        "change", MS_BEFORE=[str(scene)], MS_AFTER=[str(warped)], MODEL="water-baseline-s2", OUTPUT=str(target),
        POLYGONS=str(polygons), MIN_AREA=2000,
    )  # fmt: skip
    classes = classes_of(target)
    assert classes[150, 150] == 0 and classes[150, 150 + 75] == 3  # water, and water that became land
    areas = {area["name"]: area["area_m2"] for area in done["AREAS"][0]}
    assert areas["water to no water"] == pytest.approx(3.14159 * (900**2 - 600**2), rel=0.05)
    assert done["POLYGONS"] == str(polygons)


def test_change_needs_both_dates(run, scene, tmp_path):
    with pytest.raises(QgsProcessingException, match="later date"):
        run("change", MS_BEFORE=[str(scene)], MODEL="water-baseline-s2", OUTPUT=str(tmp_path / "change.tif"))


def test_learning_from_a_layer_of_labels(run, scene, tmp_path, monkeypatch):
    """Points in a memory layer, in degrees; the encoder is installed in a home of its own."""
    monkeypatch.setenv("EARTHPRISM_HOME", str(tmp_path / "home"))
    labels = QgsVectorLayer("Point?crs=EPSG:4326&field=kind:string", "labels", "memory")
    to = QgsCoordinateTransform(
        QgsCoordinateReferenceSystem("EPSG:32631"), labels.crs(), QgsProject.instance().transformContext()
    )
    features = []
    for kind, radius in (("water", 40), ("land", 120)):
        for step in range(8):
            angle = step * 0.785
            x, y = 501_500 + 10 * radius * math.cos(angle), 4_198_500 + 10 * radius * math.sin(angle)
            feature = QgsFeature(labels.fields())
            feature.setGeometry(QgsGeometry.fromPointXY(to.transform(QgsPointXY(x, y))))
            feature.setAttribute("kind", kind)
            features.append(feature)
    labels.dataProvider().addFeatures(features)
    done = run(
        "learn", MS=[str(scene)], MODEL="skysense-v2-tiny", LABELS=labels, FIELD="kind", SAVE="lakes",
        OUTPUT=str(tmp_path / "map.tif"),
    )  # fmt: skip
    assert done["MODEL"] == "lakes@1.0.0" and done["REPORT"]["by_label"]["accuracy"]["value"] == 1.0
    classes = classes_of(tmp_path / "map.tif")
    assert classes[150, 150] == 1 and classes[5, 5] == 0


def test_a_map_is_assessed_with_a_sample_that_was_labelled(run, scene, tmp_path):
    target = str(tmp_path / "water.tif")
    run("segment", MS=[str(scene)], MODEL="water-baseline-s2", OUTPUT=target)
    drawn = run("samplepoints", MAP=target, COUNT=100, LEAST=30, OUTPUT=str(tmp_path / "points.gpkg"))
    assert sum(drawn["POINTS"].values()) == 100 and min(drawn["POINTS"].values()) >= 30
    layer = QgsVectorLayer(drawn["OUTPUT"], "points", "ogr")
    assert layer.featureCount() == 100
    layer.startEditing()
    for feature in layer.getFeatures():
        point = feature.geometry().asPoint()
        inside = math.hypot(point.x() - 501_500, point.y() - 4_198_500) < 900
        layer.changeAttributeValue(feature.id(), layer.fields().indexOf("reference"), "water" if inside else "no water")
    # What is edited and not yet saved counts: the layer goes in as QGIS shows it.
    files = {"TABLE": str(tmp_path / "accuracy.csv"), "PICTURE": str(tmp_path / "matrix.svg")}
    done = run("assess", MAP=target, REFERENCE=layer, FIELD="reference", **files)
    assert done["OVERALL"]["value"] > 0.97 and sum(map(sum, done["COUNTS"])) == 100
    assert all(Path(path).stat().st_size > 100 for path in files.values())
    layer.rollBack()


def test_results_are_exported_with_a_project_that_needs_no_plugin(run, scene, tmp_path):
    files = {"OUTPUT": str(tmp_path / "water.tif"), "CONFIDENCE": str(tmp_path / "sure.tif")}
    run("segment", MS=[str(scene)], MODEL="water-baseline-s2", POLYGONS=str(tmp_path / "lake.gpkg"), **files)
    folder = tmp_path / "handover"
    done = run("exportresults", RUN=files["OUTPUT"], OUTPUT=str(folder))
    moved = tmp_path / "elsewhere"
    shutil.move(folder, moved)  # as on another machine
    project = QgsProject()
    assert project.read(str(moved / Path(done["PROJECT"]).name))
    layers = {layer.name(): layer for layer in project.mapLayers().values()}
    assert all(layer.isValid() for layer in layers.values()) and set(layers) == {"classes", "confidence", "polygons"}
    classes = layers["classes"].renderer().classes()
    assert [(one.value, one.label, one.color.name()) for one in classes] == [
        (0, "no water", "#d9c8a3"), (1, "water", "#1f6fb4"),
    ]  # fmt: skip
    categories = layers["polygons"].renderer().categories()
    assert [one.value() for one in categories] == ["no water", "water"]
    assert categories[1].symbol().color().name() == "#1f6fb4"
    assert layers["confidence"].renderer().type() == "singlebandpseudocolor"


def test_an_area_in_another_crs(run, scene, tmp_path):
    whole = QgsRasterLayer(str(scene), "lake").extent()
    left, bottom = whole.xMinimum() + 500, whole.yMinimum() + 500
    done = run(
        "segment",
        MS=[str(scene)],
        MODEL="water-baseline-s2",
        EXTENT=f"{left},{left + 1000},{bottom},{bottom + 1000} [EPSG:32631]",
        OUTPUT=str(tmp_path / "part.tif"),
    )
    assert classes_of(done["OUTPUT"]).shape == (100, 100)


def test_wrong_input_is_one_sentence(run, scene, tmp_path):
    with pytest.raises(QgsProcessingException, match=r"no model|there is no"):
        run("segment", MS=[str(scene)], MODEL="no-such-model", OUTPUT=str(tmp_path / "x.tif"))
    with pytest.raises(QgsProcessingException, match="colour=red"):
        run(
            "segment",
            MS=[str(scene)],
            MS_TOLD="colour=red",
            MODEL="water-baseline-s2",
            OUTPUT=str(tmp_path / "x.tif"),
        )
    assert not (tmp_path / "x.tif").exists()


def test_cancel_ends_the_run_and_leaves_no_result(run, tmp_path):
    scene = lake(tmp_path / "large.tif", size=4000)

    class Impatient(QgsProcessingFeedback):
        def setProgress(self, progress):
            if progress > 0:
                self.cancel()

    feedback = Impatient()
    done = run("segment", feedback, MS=[str(scene)], MODEL="water-baseline-s2", OUTPUT=str(tmp_path / "large-w.tif"))
    assert feedback.isCanceled() and done == {} and not (tmp_path / "large-w.tif").exists()
    assert (tmp_path / "large-w.tif.parts").is_dir()


def test_headless_with_qgis_process(scene, light_python, tmp_path):
    program = shutil.which("qgis_process.bin") or shutil.which("qgis_process")
    if program is None:
        pytest.skip("needs the program qgis_process")
    folder = tmp_path / "profile" / "profiles" / "default"
    (folder / "python" / "plugins").mkdir(parents=True)
    (folder / "python" / "plugins" / "earthprism").symlink_to(ROOT)
    (folder / "QGIS").mkdir()
    (folder / "QGIS" / "QGIS3.ini").write_text(
        f"[PythonPlugins]\nearthprism=true\n[earthprism]\npython={light_python}\n"
    )
    environment = {**os.environ, "QGIS_CUSTOM_CONFIG_PATH": str(tmp_path / "profile"), "QT_QPA_PLATFORM": "offscreen"}
    command = [program, "--json", "run", "earthprism:segment", "--", f"MS={scene}", "MODEL=water-baseline-s2"]
    done = subprocess.run(
        [*command, f"OUTPUT={tmp_path / 'water.tif'}"], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["results"]["OUTPUT"] == str(tmp_path / "water.tif")
    assert classes_of(tmp_path / "water.tif")[150, 150] == 1
