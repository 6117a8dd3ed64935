"""`earthprism:exportresults`: a run's results, styled, in a folder of their own, with a project that shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    Qgis,
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)

from ...backend.protocol.jobs import ExportJob
from ..layers import name_of
from ..results import ORDER, POLYGONS, Output
from ..text import translate
from .base import performed

PROJECT = "project.qgz"


class ExportResults(QgsProcessingAlgorithm):
    """COG, GeoPackage, styles, table of areas, STAC item; and a stand-alone project with relative paths."""

    def createInstance(self) -> ExportResults:
        """A fresh one for each run."""
        return type(self)()

    def name(self) -> str:
        """Its id."""
        return "exportresults"

    def displayName(self) -> str:
        """Its name in the toolbox."""
        return translate("Export results")

    def group(self) -> str:
        """Its group in the toolbox."""
        return translate("Results")

    def groupId(self) -> str:
        """The group's id."""
        return "results"

    def shortHelpString(self) -> str:
        """What it does, for the dialog."""
        return translate(
            "Copies the results of a finished run into a new folder: rasters with their styles, polygons with the "
            "style inside, a table of areas, the record of the run, a STAC item and a QGIS project with relative "
            "paths. "
            "Everything is readable without EarthPrism."
        )

    def initAlgorithm(self, configuration: Any = None) -> None:
        """Its parameters."""
        self.addParameter(QgsProcessingParameterFile("RUN", translate("Main result of the run, or its .run.json")))
        self.addParameter(QgsProcessingParameterBoolean("PROJECT", translate("With a QGIS project"), True))
        self.addParameter(QgsProcessingParameterFolderDestination("OUTPUT", translate("Folder, new or empty")))

    def processAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> dict[str, Any]:
        """Copy, then write the project; called in a thread of Processing's own."""
        folder = self.parameterAsString(parameters, "OUTPUT", context)
        job = ExportJob(self.parameterAsString(parameters, "RUN", context), folder)
        done = performed(self, lambda: job, feedback)
        if done is None:
            return {}
        outputs = done[1]["outputs"]
        found: dict[str, Any] = {"OUTPUT": folder, "FILES": outputs}
        if self.parameterAsBoolean(parameters, "PROJECT", context):
            found["PROJECT"] = write_project(Path(folder), outputs)
        return found


def write_project(folder: Path, outputs: dict[str, list[str]]) -> str:
    """A project of its own that shows the results, the top ones first; paths are relative.

    Raises:
        QgsProcessingException: it cannot be written.
    """
    project = QgsProject()
    project.setFilePathStorage(Qgis.FilePathType.Relative)
    layers = [
        _layer(kind, path) for kind in ORDER for path in outputs.get(kind, ()) if Path(path).suffix in (".tif", ".gpkg")
    ]
    for number, layer in enumerate(layers):
        project.addMapLayer(layer, False)
        project.layerTreeRoot().insertLayer(number, layer)
    if layers:
        project.setCrs(layers[0].crs())
    path = str(folder / PROJECT)
    if not project.write(path):
        raise QgsProcessingException(translate("The project cannot be written: {}").format(project.error()))
    return path


def _layer(kind: str, path: str) -> Any:
    """A layer in the style that lies beside the file, or in it."""
    if kind == POLYGONS:
        return QgsVectorLayer(path, name_of(Output(kind)), "ogr")
    return QgsRasterLayer(path, name_of(Output(kind)), "gdal")
