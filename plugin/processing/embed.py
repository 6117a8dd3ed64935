"""`earthprism:embed`: the encoder's view of every position."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsProcessingParameterRasterDestination, QgsProcessingParameterString

from ...backend.protocol.jobs import EmbedJob
from ..text import translate
from .base import SceneAlgorithm


class Embed(SceneAlgorithm):
    """Dense embedding of a scene, one band per number."""

    def name(self) -> str:
        """Its id."""
        return "embed"

    def displayName(self) -> str:
        """Its name in the toolbox."""
        return translate("Embed")

    def shortHelpString(self) -> str:
        """What it does, for the dialog."""
        return translate(
            "Computes what an encoder makes of every position of a scene: a raster with one band per number. Rasters "
            "of several sensors and dates may go in together, as far as the model takes them."
        )

    def initAlgorithm(self, configuration: Any = None) -> None:
        """Its parameters."""
        self.addInputs("")
        self.addParameter(
            QgsProcessingParameterString("FEATURE", translate("Feature (empty: the one of all inputs)"), optional=True)
        )
        self.addFurther()
        self.addParameter(QgsProcessingParameterRasterDestination("OUTPUT", translate("Embedding")))

    def job(self, parameters: Any, context: Any, shared: dict[str, Any]) -> EmbedJob:
        """The job."""
        feature = self.parameterAsString(parameters, "FEATURE", context) or None
        return EmbedJob(**shared, output=self.parameterAsOutputLayer(parameters, "OUTPUT", context), feature=feature)

    def results(self, job: EmbedJob, outputs: dict[str, Any], context: Any) -> dict[str, Any]:
        """The file."""
        return {"OUTPUT": job.output, "RUN": outputs["run"]}
