"""EarthPrism: the QGIS plugin's entry point."""


def classFactory(iface):
    """The plugin object that QGIS loads; `iface` is None under qgis_process."""
    from .plugin.main import EarthPrismPlugin

    return EarthPrismPlugin(iface)
