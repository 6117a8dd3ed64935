"""The provider `earthprism` of the Processing toolbox."""

from __future__ import annotations

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from ..backend import Backend
from ..environment import ROOT
from .assess import Assess, SamplePoints
from .change import Change
from .embed import Embed
from .export import ExportResults
from .learn import Learn
from .segment import Segment

ALGORITHMS = (Segment, Change, Embed, Learn, SamplePoints, Assess, ExportResults)


class EarthPrismProvider(QgsProcessingProvider):
    """Its algorithms ask the one backend that the plugin owns.

    Args:
        backend: who does the work.
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self.backend = backend

    def id(self) -> str:
        """The provider's id in algorithm names."""
        return "earthprism"

    def name(self) -> str:
        """The provider's name in the toolbox."""
        return "EarthPrism"

    def icon(self) -> QIcon:
        """The plugin's icon."""
        return QIcon(str(ROOT / "resources" / "icon.svg"))

    def loadAlgorithms(self) -> None:
        """Hand the algorithms to QGIS."""
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())
