"""Finds the Python environment in which the backend runs, and says how one is made."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from ..backend.protocol.errors import InputError, OutputError, ParameterError

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "environment.py"
# torch and a GPU where the user installed them, else the small environment.
PREFERENCE = FULL, LIGHT = ("full", "light")
SIZES = {LIGHT: 400e6, FULL: 6e9}  # bytes, roughly; torch for CUDA is the larger part of it
_SPARE = 1e9  # bytes that must stay free beside it, for what is downloaded


def interpreter(folder: Path) -> Path:
    """The Python inside an environment's folder."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def find_python(chosen: str = "", home: Optional[Path] = None, root: Path = ROOT) -> Path:
    """The Python that runs the backend.

    Args:
        chosen: the user's choice; "" takes the best environment there is.
        home: folder of the environments that were made from the dock; None for none.
        root: the plugin's folder, where a checkout has its environments.

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
    for folder in (*([home] if home else []), root / ".venv"):
        for name in PREFERENCE:
            python = interpreter(folder / name)
            if python.is_file():
                return python
    raise InputError(
        "the backend is not installed yet",
        "EarthPrism computes in a Python environment of its own",
        "set it up in the dock, or run in a terminal: python3 {} light".format(root / "scripts" / "environment.py"),
    )


def base_python() -> Path:
    """A Python that can run the script which makes environments; inside QGIS `sys.executable` may be QGIS itself.

    Raises:
        InputError: there is none.
    """
    for path in _candidates():
        if path.is_file():
            return path
    raise InputError("no Python was found that could make the environment", "", "name one under More")


def _candidates() -> Iterator[Path]:
    names = ("python.exe", "python3.exe") if os.name == "nt" else ("python3",)
    folders = [Path(sys.base_exec_prefix), Path(sys.base_exec_prefix) / "bin", Path(sys.executable).parent]
    folders.append(Path(sys.executable).parent / "bin")
    for folder in folders:
        yield from (folder / name for name in names)
    yield from (Path(found) for found in map(shutil.which, names) if found)


def check_space(folder: Path, name: str) -> None:
    """Raises:
    OutputError: the disk has no room for an environment.
    """
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    free, needed = shutil.disk_usage(there).free, SIZES[name] + _SPARE
    if free < needed:
        raise OutputError(
            f"there are {free / 1e9:.1f} GB free in {there}",
            f"the backend's environment needs up to {needed / 1e9:.1f} GB while it is made",
            "make room",
        )
