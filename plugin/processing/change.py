"""`earthprism:change`: what differs between two dates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qgis.core import (
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
)

from ...backend.protocol.jobs import ChangeJob
from ..choice import AFTER, BEFORE
from ..results import CLASSES, CONFIDENCE, DIFFERENCE, POLYGONS, PROBABILITIES
from ..text import translate
from .base import LayersParameter, SceneAlgorithm
from .dress import dress

_MODALITIES = (("HR", "hr", "High-resolution optical"), ("MS", "ms", "Multispectral"), ("SAR", "sar", "Radar"))
_MOMENTS = ((BEFORE, "earlier date"), (AFTER, "later date"))
# By what the model is: one with classes, or an encoder.
CLASS_KINDS = {"OUTPUT": CLASSES, "CONFIDENCE": CONFIDENCE, "PROBABILITIES": PROBABILITIES, "POLYGONS": POLYGONS}
DIFFERENCE_KINDS = {"OUTPUT": DIFFERENCE, "CHANGED": CLASSES, "POLYGONS": POLYGONS}


class Change(SceneAlgorithm):
    """Classes of change between two dates, or the difference of what an encoder makes of them."""

    layers: Mapping[str, LayersParameter] = {
        f"{name}_{role.upper()}": LayersParameter(modality, f"{label}, {moment}", role)
        for role, moment in _MOMENTS
        for name, modality, label in (*_MODALITIES, ("OTHER", "raster", "Other sensor"))
    }

    def name(self) -> str:
        """Its id."""
        return "change"

    def displayName(self) -> str:
        """Its name in the toolbox."""
        return translate("Change")

    def shortHelpString(self) -> str:
        """What it does, for the dialog."""
        return translate(
            "Finds what differs between two dates; their rasters may differ in CRS, pixel size and extent. A change "
            "model gives its classes. A segmentation model is run on both dates, and the result says what became what. "
            "An encoder needs no training for it: the result is the difference of its embeddings, 1 − cosine, from 0 "
            "(the same) to 2 (opposite), and what reaches the threshold is changed. Where either date has no data "
            "there is no result."
        )

    def initAlgorithm(self, configuration: Any = None) -> None:
        """Its parameters."""
        self.addInputs("water-baseline-s2")
        threshold = translate("With an encoder, threshold of change: otsu, percentile:95 or a number from 0 to 2")
        self.addParameter(QgsProcessingParameterString("THRESHOLD", threshold, "otsu"))
        kind = QgsProcessingParameterNumber.Type.Double
        self.addParameter(
            QgsProcessingParameterNumber("MIN_AREA", translate("Smallest area in m²"), kind, 0.0, minValue=0.0)
        )
        self.addFurther()
        output = translate("Classes of change, or with an encoder the difference")
        self.addParameter(QgsProcessingParameterRasterDestination("OUTPUT", output))
        for name, label in (
            ("CHANGED", translate("With an encoder: changed or not")),
            ("CONFIDENCE", translate("Confidence")),
            ("PROBABILITIES", translate("Probability of change")),
        ):
            self.addParameter(QgsProcessingParameterRasterDestination(name, label, None, True, False))
        self.addParameter(
            QgsProcessingParameterVectorDestination(
                "POLYGONS", translate("Polygons"), optional=True, createByDefault=False
            )
        )

    def job(self, parameters: Any, context: Any, shared: dict[str, Any]) -> ChangeJob:
        """The job."""

        def file(name: str) -> Any:
            return self.parameterAsOutputLayer(parameters, name, context) or None

        return ChangeJob(
            **shared,
            output=file("OUTPUT"),
            changed=file("CHANGED"),
            threshold=self.parameterAsString(parameters, "THRESHOLD", context) or "otsu",
            confidence=file("CONFIDENCE"),
            probabilities=file("PROBABILITIES"),
            polygons=file("POLYGONS"),
            min_area=self.parameterAsDouble(parameters, "MIN_AREA", context),
        )

    def results(self, job: ChangeJob, outputs: dict[str, Any], context: Any) -> dict[str, Any]:
        """Files by parameter; what the classes cover as well."""
        kinds = DIFFERENCE_KINDS if outputs.get(DIFFERENCE) else CLASS_KINDS
        return {**dress(kinds, outputs, context), "AREAS": outputs.get("class_areas", []), "RUN": outputs["run"]}
