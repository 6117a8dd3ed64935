"""EarthPrism's backend: everything that computes. It knows nothing of QGIS."""

__version__ = "0.1.0"
