"""Digests of small files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from backend.protocol.errors import SourceError


def file_digest(name: str) -> str:
    """sha256 of a file, hexadecimal; of the whole file for the name of a layer in a file ("file|layername=x").

    Raises:
        SourceError: when it cannot be read.
    """
    path = Path(name.partition("|")[0])
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise SourceError(f'"{path}" cannot be read', error.strerror or str(error)) from error
