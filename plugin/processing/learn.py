"""`earthprism:learn`: a model from a handful of labels, and the map of the scene by it."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingException,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterString,
)

from ...backend.protocol.jobs import LabelSpec, LearnJob
from ..results import CLASSES, CONFIDENCE
from ..text import translate
from .base import SceneAlgorithm
from .dress import dress
from .vectors import written

KINDS = {"OUTPUT": CLASSES, "CONFIDENCE": CONFIDENCE}


class Learn(SceneAlgorithm):
    """A linear probe on an encoder's features at labelled places."""

    def __init__(self) -> None:
        super().__init__()
        self._scratch: Any = None

    def name(self) -> str:
        """Its id."""
        return "learn"

    def displayName(self) -> str:
        """Its name in the toolbox."""
        return translate("Learn from labels")

    def shortHelpString(self) -> str:
        """What it does, for the dialog."""
        return translate(
            "Makes a model of your own from labelled points, lines or polygons and an encoder, and maps the scene with "
            "it. What it is worth is found by cross-validation, with whole labels and with whole blocks of ground left "
            "out. The model is installed under its name and serves other scenes and dates: give Segment the encoder "
            "and the new model."
        )

    def initAlgorithm(self, configuration: Any = None) -> None:
        """Its parameters."""
        self.addInputs("")
        vector = [QgsProcessing.SourceType.TypeVectorAnyGeometry]
        self.addParameter(QgsProcessingParameterFeatureSource("LABELS", translate("Labels"), vector))
        self.addParameter(QgsProcessingParameterField("FIELD", translate("Field of the classes"), None, "LABELS"))
        self.addParameter(QgsProcessingParameterString("SAVE", translate("Name of the new model"), "my-model"))
        feature = translate("Feature (empty: the one of all inputs)")
        self.addParameter(QgsProcessingParameterString("FEATURE", feature, optional=True))
        kind = QgsProcessingParameterNumber.Type.Double
        self.addParameter(
            QgsProcessingParameterNumber("MIN_AREA", translate("Smallest area in m²"), kind, 0.0, minValue=0.0)
        )
        self.addFurther()
        self.addParameter(QgsProcessingParameterRasterDestination("OUTPUT", translate("Classes"), None, True))
        self.addParameter(
            QgsProcessingParameterRasterDestination("CONFIDENCE", translate("Confidence"), None, True, False)
        )

    def job(self, parameters: Any, context: Any, shared: dict[str, Any]) -> LearnJob:
        """The job; the labels are written to a file of their own, as QGIS sees them: selected, filtered, edited."""
        field = self.parameterAsString(parameters, "FIELD", context)
        return LearnJob(
            **shared,
            labels=LabelSpec(self._labels(parameters, context), field),
            save=self.parameterAsString(parameters, "SAVE", context),
            output=self.parameterAsOutputLayer(parameters, "OUTPUT", context) or None,
            confidence=self.parameterAsOutputLayer(parameters, "CONFIDENCE", context) or None,
            feature=self.parameterAsString(parameters, "FEATURE", context) or None,
            min_area=self.parameterAsDouble(parameters, "MIN_AREA", context),
        )

    def results(self, job: LearnJob, outputs: dict[str, Any], context: Any) -> dict[str, Any]:
        """The files, and the new model."""
        return dress(KINDS, outputs, context) if outputs else {}

    def told(self, result: dict[str, Any]) -> dict[str, Any]:
        """The new model and what it is worth."""
        return {"MODEL": result["model"], "REPORT": result["report"]}

    def _labels(self, parameters: Any, context: Any) -> str:
        source = self.parameterAsSource(parameters, "LABELS", context)
        if source is None:
            raise QgsProcessingException(self.invalidSourceError(parameters, "LABELS"))
        self._scratch, path = written(source, context)
        return path
