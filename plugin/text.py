"""The user's language."""

from __future__ import annotations

import re

from qgis.PyQt.QtCore import QCoreApplication

CONTEXT = "EarthPrism"


# How the command line writes what the dock has fields for.
_OPTIONS = re.compile(r" \(--[a-z]+\)|::(?=[a-z]+=)")


def plain(text: str) -> str:
    """The backend's words without the command line's spelling: "give offset=-1000"."""
    return _OPTIONS.sub("", text).replace("with --mask", "with a mask")


def translate(text: str) -> str:
    """The text in the user's language."""
    return str(QCoreApplication.translate(CONTEXT, text))
