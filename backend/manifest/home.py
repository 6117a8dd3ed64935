"""The folder that holds what the program keeps for its user."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def home() -> Path:
    """$EARTHPRISM_HOME, or `earthprism` in the system's folder for user data; not created here."""
    chosen = os.environ.get("EARTHPRISM_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "earthprism"
