"""Finds the Python environment in which the backend runs."""

from __future__ import annotations

import os
from pathlib import Path

from ..backend.protocol.errors import InputError, ParameterError

ROOT = Path(__file__).resolve().parent.parent
# torch and a GPU where the user installed them, else the small environment.
PREFERENCE = ("full", "light")


def interpreter(folder: Path) -> Path:
    """The Python inside an environment's folder."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def find_python(chosen: str = "", root: Path = ROOT) -> Path:
    """The Python that runs the backend.

    Args:
        chosen: the user's choice; "" takes the best environment of the plugin's own folder.
        root: the plugin's folder.

    Raises:
        ParameterError: the chosen file is not there.
        InputError: no environment has been made yet.
    """
    if chosen:
        if not Path(chosen).is_file():
            raise ParameterError(
                "the backend cannot be started",
                f"the setting earthprism/python names {chosen}, which is not there",
                "correct the setting or remove it",
            )
        return Path(chosen)
    for name in PREFERENCE:
        python = interpreter(root / ".venv" / name)
        if python.is_file():
            return python
    raise InputError(
        "the backend is not installed yet",
        "there is no environment in {}".format(root / ".venv"),
        "run once in a terminal: python3 {} light".format(root / "scripts" / "environment.py"),
    )
