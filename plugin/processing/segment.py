"""`earthprism:segment`: the class of every pixel."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterVectorDestination,
)

from ...backend.protocol.jobs import SegmentJob
from ..results import CLASSES, CONFIDENCE, POLYGONS, PROBABILITIES
from ..text import translate
from .base import SceneAlgorithm
from .dress import dress

KINDS = {"OUTPUT": CLASSES, "CONFIDENCE": CONFIDENCE, "PROBABILITIES": PROBABILITIES, "POLYGONS": POLYGONS}


class Segment(SceneAlgorithm):
    """Class map of a scene, with confidence and polygons where they are asked for."""

    def name(self) -> str:
        """Its id."""
        return "segment"

    def displayName(self) -> str:
        """Its name in the toolbox."""
        return translate("Segment")

    def shortHelpString(self) -> str:
        """What it does, for the dialog."""
        return translate(
            "Gives every pixel a class. Choose the rasters by modality and a model that fits them; rasters may differ "
            "in CRS, pixel size and extent. Nodata stays nodata. The result is a Cloud Optimized GeoTIFF with the "
            "model's classes and colours; confidence is between 0 and 1; polygons carry class and area."
        )

    def initAlgorithm(self, configuration: Any = None) -> None:
        """Its parameters."""
        self.addInputs("water-baseline-s2")
        kind = QgsProcessingParameterNumber.Type.Double
        self.addParameter(
            QgsProcessingParameterNumber("MIN_AREA", translate("Smallest area in m²"), kind, 0.0, minValue=0.0)
        )
        self.addFurther()
        self.addParameter(QgsProcessingParameterRasterDestination("OUTPUT", translate("Classes")))
        for name, label in (("CONFIDENCE", translate("Confidence")), ("PROBABILITIES", translate("Probabilities"))):
            self.addParameter(QgsProcessingParameterRasterDestination(name, label, None, True, False))
        self.addParameter(
            QgsProcessingParameterVectorDestination(
                "POLYGONS", translate("Polygons"), optional=True, createByDefault=False
            )
        )

    def job(self, parameters: Any, context: Any, shared: dict[str, Any]) -> SegmentJob:
        """The job."""

        def file(name: str) -> Any:
            return self.parameterAsOutputLayer(parameters, name, context) or None

        return SegmentJob(
            **shared,
            output=file("OUTPUT"),
            confidence=file("CONFIDENCE"),
            probabilities=file("PROBABILITIES"),
            polygons=file("POLYGONS"),
            min_area=self.parameterAsDouble(parameters, "MIN_AREA", context),
        )

    def results(self, job: SegmentJob, outputs: dict[str, Any], context: Any) -> dict[str, Any]:
        """Files by parameter; the class areas as well."""
        return {**dress(KINDS, outputs, context), "AREAS": outputs.get("class_areas", []), "RUN": outputs["run"]}
