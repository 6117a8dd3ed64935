"""Gives the layers that Processing loads the style, metadata and dates that the dock's layers have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qgis.core import QgsProcessingLayerPostProcessorInterface

from .. import styles
from ..layers import describe
from ..results import CLASSES, CONFIDENCE, DIFFERENCE, POLYGONS, Output, RunRecord

# QGIS keeps no reference to a post-processor that it will call later.
_KEPT: list[Any] = []


class Dress(QgsProcessingLayerPostProcessorInterface):
    """Styles one layer once it is loaded.

    Args:
        kind: what the layer holds.
        record: the run it came from.
    """

    def __init__(self, kind: str, record: RunRecord) -> None:
        super().__init__()
        self._kind, self._record = kind, record

    def postProcessLayer(self, layer: Any, context: Any, feedback: Any) -> None:
        """Style the layer; called in the window's thread."""
        _KEPT.remove(self)
        if self._kind == CLASSES:
            styles.style_classes(layer, self._legend)
        elif self._kind == CONFIDENCE:
            styles.style_confidence(layer)
        elif self._kind == DIFFERENCE:
            styles.style_difference(layer)
        elif self._kind == POLYGONS:
            styles.style_polygons(layer, self._legend)
        describe(layer, self._record)
        layer.triggerRepaint()

    @property
    def _legend(self) -> Any:
        first = next(iter(self._record.legends), "")
        return self._record.legends.get(Output(self._kind).model, self._record.legends.get(first, ()))


def dress(kinds: Mapping[str, str], outputs: dict[str, Any], context: Any) -> dict[str, str]:
    """The files of a run by parameter; those of them that QGIS will load it will style.

    Args:
        kinds: kind of output by parameter of the algorithm.
        outputs: of the backend.
        context: of Processing.
    """
    record = RunRecord.of({"outputs": outputs})
    results = {name: outputs[kind][0] for name, kind in kinds.items() if outputs.get(kind)}
    for name, path in results.items():
        if context.willLoadLayerOnCompletion(path):
            post = Dress(kinds[name], record)
            _KEPT.append(post)
            context.layerToLoadOnCompletionDetails(path).setPostProcessor(post)
    return results
