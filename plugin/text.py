"""The user's language."""

from __future__ import annotations

from qgis.PyQt.QtCore import QCoreApplication

CONTEXT = "EarthPrism"


def translate(text: str) -> str:
    """The text in the user's language."""
    return str(QCoreApplication.translate(CONTEXT, text))
