"""Vector layers as the backend reads them: a file of their own, with what QGIS shows of them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from qgis.core import QgsProcessingException, QgsVectorFileWriter

from ..text import translate


def written(source: Any, context: Any) -> tuple[Any, str]:
    """A source's features, selected and filtered as they are, in a GeoPackage.

    Args:
        source: of Processing.
        context: of Processing.

    Returns:
        the temporary folder, which lives as long as this object does, and the file.
    """
    scratch = tempfile.TemporaryDirectory()
    path = str(Path(scratch.name) / "features.gpkg")
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "GPKG"
    writer = QgsVectorFileWriter.create(
        path, source.fields(), source.wkbType(), source.sourceCrs(), context.transformContext(), options
    )
    for feature in source.getFeatures():
        if not writer.addFeature(feature):
            raise QgsProcessingException(translate("The features cannot be read: {}").format(writer.errorMessage()))
    del writer  # the file is complete when the writer is gone
    return scratch, path
