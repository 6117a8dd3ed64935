"""What QGIS's layers are to the backend."""

from __future__ import annotations

import http.server
import threading
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("qgis.core", reason="needs QGIS's Python: scripts/test plugin")

from earthprism.backend.protocol.errors import SourceError
from earthprism.plugin.sources import (
    Export,
    date_of,
    export_layer,
    extent_in,
    input_of,
    needs_export,
    paths_of,
    series_of,
)
from osgeo import gdal
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsDateTimeRange,
    QgsProject,
    QgsRasterBlockFeedback,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QDateTime, Qt

from tests.plugin.scene import lake


@pytest.fixture
def raster(tmp_path):
    return lake(tmp_path / "lake.tif", size=64)


def test_files_are_named_as_gdal_names_them(raster, tmp_path):
    assert paths_of(QgsRasterLayer(str(raster), "file")) == (str(raster),)
    packed = tmp_path / "rasters.gpkg"
    gdal.Translate(str(packed), str(raster), format="GPKG", bandList=[1], outputType=gdal.GDT_Byte)
    gdal.Translate(
        str(packed),
        str(raster),
        format="GPKG",
        bandList=[2],
        outputType=gdal.GDT_Byte,
        creationOptions=["APPEND_SUBDATASET=YES", "RASTER_TABLE=second"],
    )
    name = f"GPKG:{packed}:second"
    assert paths_of(QgsRasterLayer(name, "table")) == (name,)
    stacked = tmp_path / "stack.vrt"
    gdal.BuildVRT(str(stacked), [str(raster)]).FlushCache()
    assert paths_of(QgsRasterLayer(str(stacked), "vrt")) == (str(stacked),)


def test_open_options_of_qgis_are_left_out(raster):
    layer = QgsRasterLayer(f"{raster}|option:NUM_THREADS=2", "lake")
    assert layer.isValid() and paths_of(layer) == (str(raster),)


def test_the_date_is_that_of_the_layer(raster):
    layer = QgsRasterLayer(str(raster), "lake")
    assert date_of(layer) is None and input_of(layer, "ms").date is None
    begin = QDateTime.fromString("2022-03-04T10:00:00", Qt.DateFormat.ISODate)
    layer.temporalProperties().setFixedTemporalRange(QgsDateTimeRange(begin, begin.addDays(1)))
    layer.temporalProperties().setIsActive(True)
    assert input_of(layer, "ms").date == "2022-03-04"
    assert input_of(layer, "ms", date="2022-03-05", sensor="sentinel-2-l1c").date == "2022-03-05"


def test_what_the_backend_cannot_read_is_said(raster, tmp_path):
    lost = QgsRasterLayer(str(tmp_path / "gone.tif"), "gone")
    with pytest.raises(SourceError, match="repair"):
        paths_of(lost)
    with pytest.raises(SourceError, match="no raster"):
        paths_of(QgsVectorLayer("Point", "points", "memory"))


def test_a_group_is_a_series(raster, qgis_new_project):
    group = QgsProject.instance().layerTreeRoot().addGroup("dates")
    layers = [QgsRasterLayer(str(raster), f"date {number}") for number in range(3)]
    layers.append(QgsVectorLayer("Point", "points", "memory"))
    for layer in layers:
        QgsProject.instance().addMapLayer(layer, False)
        group.addLayer(layer)
    assert [layer.name() for layer in series_of(group)] == ["date 0", "date 1", "date 2"]


@pytest.fixture
def tile_server(tmp_path):
    """One red tile for every place, served on this machine only."""
    dataset = gdal.GetDriverByName("MEM").Create("", 256, 256, 3, gdal.GDT_Byte)
    dataset.GetRasterBand(1).Fill(200)
    gdal.GetDriverByName("PNG").CreateCopy(str(tmp_path / "tile.png"), dataset)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            return str(tmp_path / "tile.png")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_online_layer_is_exported_at_the_chosen_pixel_size(tile_server, tmp_path):
    layer = QgsRasterLayer(f"type=xyz&url={tile_server}/{{z}}/{{x}}/{{y}}.png&zmax=18&zmin=0", "tiles", "wms")
    assert layer.isValid() and needs_export(layer)
    with pytest.raises(SourceError, match="export"):
        paths_of(layer)
    web = QgsCoordinateReferenceSystem("EPSG:3857")
    export = Export(QgsRectangle(0, 0, 1000, 600), web, 10.0, tmp_path / "tiles.tif")
    assert export.size == (100, 60) and export.warning() == ""
    export_layer(layer.clone(), export, QgsRasterBlockFeedback())
    written = gdal.Open(str(export.target))
    assert (written.RasterXSize, written.RasterYSize) == (100, 60)
    assert written.GetRasterBand(1).ReadAsArray()[30, 50] == 200
    assert [path.name for path in tmp_path.glob("*.part*")] == []
    assert "×" in Export(QgsRectangle(0, 0, 1e6, 1e6), web, 10.0, Path("x.tif")).warning()


def test_a_cancelled_export_leaves_no_file(tile_server, tmp_path):
    layer = QgsRasterLayer(f"type=xyz&url={tile_server}/{{z}}/{{x}}/{{y}}.png&zmax=18&zmin=0", "tiles", "wms")
    feedback = QgsRasterBlockFeedback()
    feedback.cancel()
    extent = extent_in(layer, QgsCoordinateReferenceSystem("EPSG:3857"))
    export = Export(extent, QgsCoordinateReferenceSystem("EPSG:3857"), extent.width() / 2000, tmp_path / "tiles.tif")
    with pytest.raises(SourceError):
        export_layer(layer.clone(), export, feedback)
    assert not export.target.exists() and [path.name for path in tmp_path.glob("*.part*")] == []
