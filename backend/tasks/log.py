"""The log file of a process: what users send when something went wrong."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

from backend.manifest.home import home

KEPT = 20  # files of the same name
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def open_log(name: str) -> Path | None:
    """Send everything that is logged in this process to a new file, warnings to stderr as well.

    Args:
        name: what the process is, first part of the file's name.

    Returns:
        The file; None when it cannot be made, which is logged and no reason to stop.
    """
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.WARNING)
    screen.addFilter(_is_ours)
    root.addHandler(screen)
    folder = home() / "logs"
    path = folder / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
        _remove_old(folder, name)
    except OSError as error:
        root.warning("no log file can be written in %s: %s", folder, error)
        return None
    handler.setFormatter(logging.Formatter(_FORMAT))
    root.addHandler(handler)
    return path


def _is_ours(record: logging.LogRecord) -> bool:
    """Remarks of libraries, such as GDAL's on every odd tag of a file, are for the log file only."""
    return record.name.partition(".")[0] in ("backend", "root", "__main__")


def _remove_old(folder: Path, name: str) -> None:
    for old in sorted(folder.glob(f"{name}-*.log"))[:-KEPT]:
        old.unlink(missing_ok=True)
