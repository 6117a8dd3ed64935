"""The command line: the same jobs as in QGIS, progress on stderr, one JSON object on stdout where asked for."""

from backend.command_line.run import main

__all__ = ["main"]
