"""What all algorithms share: inputs by modality, area, grid, and the run of a job with progress and cancel."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Optional, TypeVar, Union

from qgis.core import (
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterCrs,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from ...backend.protocol.errors import Cancelled, EarthPrismError
from ...backend.protocol.jobs import AreaSpec, ComputeSpec, GridSpec, InputSpec, Job, LearnJob, MaskSpec, SceneJob
from ...backend.protocol.messages import JobEvent, Logged, Progress, Warned
from ..choice import TOLD_EXAMPLE, told_of
from ..sources import input_of, paths_of
from ..text import translate


@dataclass(frozen=True)
class LayersParameter:
    """A parameter for the layers of a modality.

    Attributes:
        modality: of the layers.
        label: for people.
        role: "before" or "after" where two dates are compared.
    """

    modality: str
    label: str
    role: str = ""


# By name.
INPUTS = {
    "HR": LayersParameter("hr", "High-resolution optical"),
    "MS": LayersParameter("ms", "Multispectral, one layer per date"),
    "SAR": LayersParameter("sar", "Radar, one layer per date"),
    "OTHER": LayersParameter("raster", "Other sensor"),
}
TOLD_LABEL = "what the files do not say, such as {}"
J = TypeVar("J", bound=Job)
PRECISIONS = ("auto", "fp32", "bf16", "int8")


class SceneAlgorithm(QgsProcessingAlgorithm):
    """An algorithm over the rasters of a place; `job` says what it asks of the backend."""

    layers: Mapping[str, LayersParameter] = INPUTS

    @abstractmethod
    def job(self, parameters: Any, context: Any, shared: dict[str, Any]) -> Union[SceneJob, LearnJob]:
        """The job, from the algorithm's own parameters and the shared arguments of every scene job."""

    @abstractmethod
    def results(self, job: Any, outputs: dict[str, Any], context: Any) -> dict[str, Any]:
        """The algorithm's outputs, from those of the backend."""

    def createInstance(self) -> SceneAlgorithm:
        """A fresh one for each run."""
        return type(self)()

    def group(self) -> str:
        """Its group in the toolbox."""
        return translate("Scenes")

    def groupId(self) -> str:
        """The group's id."""
        return "scenes"

    def addInputs(self, model: str) -> None:
        """Inputs, model and area; `model` is the default."""
        raster = QgsProcessing.SourceType.TypeRaster
        for name, of in self.layers.items():
            self.addParameter(QgsProcessingParameterMultipleLayers(name, translate(of.label), raster, optional=True))
        self.addParameter(QgsProcessingParameterString("MODEL", translate("Model"), model))
        self.addParameter(QgsProcessingParameterExtent("EXTENT", translate("Area"), optional=True))

    def addFurther(self) -> None:
        """What most runs leave as it is: mask, grid, device."""
        kind = QgsProcessingParameterNumber.Type
        told = [
            QgsProcessingParameterString(
                f"{name}_TOLD", f"{translate(of.label)}: {translate(TOLD_LABEL).format(TOLD_EXAMPLE)}", optional=True
            )
            for name, of in self.layers.items()
        ]
        for further in (
            *told,
            QgsProcessingParameterRasterLayer("MASK", translate("Mask, such as clouds"), optional=True),
            QgsProcessingParameterString(
                "MASK_VALUES", translate("Values of the mask that are invalid (empty: all but 0)"), "", optional=True
            ),
            QgsProcessingParameterCrs("CRS", translate("CRS of the result"), optional=True),
            QgsProcessingParameterNumber(
                "RESOLUTION", translate("Pixel size of the result"), kind.Double, optional=True, minValue=0
            ),
            QgsProcessingParameterEnum(
                "PRECISION", translate("Precision"), list(PRECISIONS), defaultValue=0, usesStaticStrings=False
            ),
            QgsProcessingParameterString("DEVICE", translate("Device: auto, cpu, cuda:0, mps"), "auto"),
            QgsProcessingParameterBoolean("RESUME", translate("Continue an interrupted run"), False),
        ):
            further.setFlags(further.flags() | QgsProcessingParameterDefinition.Flag.FlagAdvanced)
            self.addParameter(further)

    def processAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> dict[str, Any]:
        """Run the job; called in a thread of Processing's own."""
        done = performed(self, lambda: self.job(parameters, context, self._shared(parameters, context)), feedback)
        if done is None:
            return {}
        job, result = done
        return {**self.results(job, result["outputs"], context), **self.told(result)}

    def told(self, result: dict[str, Any]) -> dict[str, Any]:
        """What else the backend's result says."""
        return {}

    def _shared(self, parameters: Any, context: Any) -> dict[str, Any]:
        inputs = tuple(
            input_of(layer, of.modality, **{**told, "role": of.role} if of.role else told)
            for name, of in self.layers.items()
            for told in (told_of(self.parameterAsString(parameters, f"{name}_TOLD", context)),)
            for layer in self.parameterAsLayerList(parameters, name, context) or ()
        )
        return {
            "inputs": inputs,
            "models": tuple(self.parameterAsString(parameters, "MODEL", context).replace(",", " ").split()),
            "area": self._area(parameters, context, inputs),
            "mask": self._mask(parameters, context),
            "grid": self._grid(parameters, context),
            "compute": ComputeSpec(
                device=self.parameterAsString(parameters, "DEVICE", context) or "auto",
                precision=PRECISIONS[self.parameterAsEnum(parameters, "PRECISION", context)],
            ),
            "if_exists": "resume" if self.parameterAsBoolean(parameters, "RESUME", context) else "overwrite",
        }

    def _area(self, parameters: Any, context: Any, inputs: tuple[InputSpec, ...]) -> AreaSpec:
        if not parameters.get("EXTENT"):
            return AreaSpec()
        extent = self.parameterAsExtent(parameters, "EXTENT", context)
        crs = self.parameterAsExtentCrs(parameters, "EXTENT", context)
        bounds = (extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum())
        return AreaSpec(extent=bounds, extent_crs=crs.authid() or crs.toWkt())

    def _mask(self, parameters: Any, context: Any) -> Optional[MaskSpec]:
        layer = self.parameterAsRasterLayer(parameters, "MASK", context)
        if layer is None:
            return None
        text = self.parameterAsString(parameters, "MASK_VALUES", context)
        try:
            values = tuple(int(value) for value in text.replace(",", " ").split())
        except ValueError as error:
            raise QgsProcessingException(translate("The values of the mask must be whole numbers.")) from error
        return MaskSpec(paths_of(layer)[0], values)

    def _grid(self, parameters: Any, context: Any) -> GridSpec:
        crs = self.parameterAsCrs(parameters, "CRS", context)
        resolution = self.parameterAsDouble(parameters, "RESOLUTION", context)
        return GridSpec(crs=(crs.authid() or crs.toWkt()) if crs.isValid() else None, resolution=resolution or None)


def performed(algorithm: Any, make: Callable[[], J], feedback: Any) -> Optional[tuple[J, dict[str, Any]]]:
    """Make a job and let the backend do it; None after a cancel.

    Args:
        algorithm: whose provider knows the backend.
        make: gives the job; may raise the backend's errors.
        feedback: of Processing.

    Raises:
        QgsProcessingException: one sentence.
    """
    try:
        job = make()
        client = algorithm.provider().backend.client()
        return job, client.run(job, lambda event: tell(event, feedback), feedback.isCanceled)
    except Cancelled:
        return None
    except EarthPrismError as error:
        raise QgsProcessingException(error.sentence()) from error


def tell(event: JobEvent, feedback: Any) -> None:
    """Show an event of a job."""
    if isinstance(event, Progress):
        feedback.setProgress(100 * event.fraction)
        feedback.setProgressText(event.stage)
    elif isinstance(event, Warned):
        feedback.pushWarning(event.text)
    elif isinstance(event, Logged):
        feedback.pushInfo(event.text)
