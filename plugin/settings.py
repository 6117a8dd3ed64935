"""The user's settings, all read here."""

from __future__ import annotations

from qgis.core import QgsSettings

PYTHON = "earthprism/python"


def backend_python() -> str:
    """The Python that the user chose for the backend, "" where the choice is ours."""
    return str(QgsSettings().value(PYTHON, "") or "")
