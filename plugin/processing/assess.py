"""`earthprism:assess` and `earthprism:samplepoints`: how right a class map is."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Union

from qgis.core import (
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterVectorDestination,
)

from ...backend.protocol.jobs import AssessJob, DesignJob, LabelSpec
from ..sources import paths_of
from ..text import translate
from .base import performed
from .vectors import written


class MapAlgorithm(QgsProcessingAlgorithm):
    """An algorithm over a finished class map."""

    @abstractmethod
    def job(self, parameters: Any, context: Any) -> Union[AssessJob, DesignJob]:
        """The job."""

    @abstractmethod
    def results(self, result: dict[str, Any]) -> dict[str, Any]:
        """The algorithm's outputs, from the backend's result."""

    def createInstance(self) -> MapAlgorithm:
        """A fresh one for each run."""
        return type(self)()

    def group(self) -> str:
        """Its group in the toolbox."""
        return translate("Accuracy")

    def groupId(self) -> str:
        """The group's id."""
        return "accuracy"

    def processAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> dict[str, Any]:
        """Run the job; called in a thread of Processing's own."""
        done = performed(self, lambda: self.job(parameters, context), feedback)
        return {} if done is None else self.results(done[1])

    def _map(self, parameters: Any, context: Any) -> str:
        layer = self.parameterAsRasterLayer(parameters, "MAP", context)
        if layer is None:
            raise QgsProcessingException(self.invalidRasterError(parameters, "MAP"))
        return paths_of(layer)[0]


class SamplePoints(MapAlgorithm):
    """A stratified random sample of a class map, to be labelled."""

    def name(self) -> str:
        """Its id."""
        return "samplepoints"

    def displayName(self) -> str:
        """Its name in the toolbox."""
        return translate("Draw a sample for assessment")

    def shortHelpString(self) -> str:
        """What it does, for the dialog."""
        return translate(
            "Draws random points on a class map: each class gets its share of the ground, and a least number. Look at "
            "every point in better imagery, write what is there into the field “reference”, then assess the map."
        )

    def initAlgorithm(self, configuration: Any = None) -> None:
        """Its parameters."""
        kind = QgsProcessingParameterNumber.Type.Integer
        self.addParameter(QgsProcessingParameterRasterLayer("MAP", translate("Class map")))
        for name, label, value, least in (
            ("COUNT", translate("Points in all"), 300, 1),
            ("LEAST", translate("Points of each class at least"), 30, 2),
            ("SEED", translate("Seed of the draw"), 0, 0),
        ):
            self.addParameter(QgsProcessingParameterNumber(name, label, kind, value, minValue=least))
        vector = QgsProcessing.SourceType.TypeVectorPoint
        self.addParameter(QgsProcessingParameterVectorDestination("OUTPUT", translate("Points"), vector))

    def job(self, parameters: Any, context: Any) -> DesignJob:
        """The job."""
        numbers = [self.parameterAsInt(parameters, name, context) for name in ("COUNT", "LEAST", "SEED")]
        output = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        return DesignJob(self._map(parameters, context), output, *numbers)

    def results(self, result: dict[str, Any]) -> dict[str, Any]:
        """The points, and how many of each class."""
        return {"OUTPUT": result["outputs"]["points"], "POINTS": result["points"]}


class Assess(MapAlgorithm):
    """Accuracy and adjusted areas of a class map."""

    def name(self) -> str:
        """Its id."""
        return "assess"

    def displayName(self) -> str:
        """Its name in the toolbox."""
        return translate("Assess a class map")

    def shortHelpString(self) -> str:
        """What it does, for the dialog."""
        return translate(
            "Compares a class map with references: points, lines or polygons, with names or values of the map's "
            "classes. Gives overall, user's and producer's accuracy and the ground that each class really covers, with "
            "95 % intervals (Olofsson et al. 2014). They hold for a random sample, such as “Draw a sample for "
            "assessment” makes."
        )

    def initAlgorithm(self, configuration: Any = None) -> None:
        """Its parameters."""
        self.addParameter(QgsProcessingParameterRasterLayer("MAP", translate("Class map")))
        vector = [QgsProcessing.SourceType.TypeVectorAnyGeometry]
        self.addParameter(QgsProcessingParameterFeatureSource("REFERENCE", translate("References"), vector))
        self.addParameter(QgsProcessingParameterField("FIELD", translate("What is there"), "reference", "REFERENCE"))
        for name, label, ending in (
            ("TABLE", translate("Table"), translate("CSV (*.csv)")),
            ("PICTURE", translate("Picture of the matrix"), translate("SVG (*.svg)")),
        ):
            self.addParameter(QgsProcessingParameterFileDestination(name, label, ending, None, True, False))

    def job(self, parameters: Any, context: Any) -> AssessJob:
        """The job; the references are written to a file of their own, as QGIS sees them."""
        source = self.parameterAsSource(parameters, "REFERENCE", context)
        if source is None:
            raise QgsProcessingException(self.invalidSourceError(parameters, "REFERENCE"))
        self._scratch, path = written(source, context)
        field = self.parameterAsString(parameters, "FIELD", context)
        files = [self.parameterAsFileOutput(parameters, name, context) or None for name in ("TABLE", "PICTURE")]
        return AssessJob(self._map(parameters, context), LabelSpec(path, field), *files)

    def results(self, result: dict[str, Any]) -> dict[str, Any]:
        """The numbers and the files."""
        files = {name.upper(): path for name, path in result["outputs"].items()}
        return {**files, "OVERALL": result["overall"], "CLASSES": result["classes"], "COUNTS": result["counts"]}
