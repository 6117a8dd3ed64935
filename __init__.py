"""EarthPrism: the QGIS plugin's entry point."""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:
    """The plugin object that QGIS loads; `iface` is None under qgis_process."""
    from .plugin.main import EarthPrismPlugin

    return EarthPrismPlugin(iface)
