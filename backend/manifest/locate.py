"""Where packages lie on this computer, and how they are named."""

from __future__ import annotations

import re
from pathlib import Path

from backend.manifest.home import home

BUILT_IN = Path(__file__).resolve().parents[2] / "resources" / "models"
_FOLDER = re.compile(r"([a-z][a-z0-9]*(?:-[a-z0-9]+)*)-([0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6})")


def installed_root() -> Path:
    """Folder of the packages the user installed; may not exist yet."""
    return home() / "models"


def folder_name(name: str, version: str) -> str:
    """Name of a package's folder in the store."""
    return f"{name}-{version}"


def version_key(version: str) -> tuple[int, ...]:
    """Sort key: 1.10.0 is newer than 1.9.0."""
    return tuple(int(part) for part in version.split("."))


def candidates() -> list[tuple[str, str, Path]]:
    """Name, version and folder of everything that looks like a package, sorted by name, newest version first.

    The user's packages come before built-in ones of the same name and version.
    """
    found: dict[tuple[str, str], Path] = {}
    for root in (installed_root(), BUILT_IN):
        for folder in sorted(root.iterdir()) if root.is_dir() else ():
            match = _FOLDER.fullmatch(folder.name)
            if match and (folder / "model.json").is_file():
                found.setdefault((match[1], match[2]), folder)
    ordered = sorted(found.items(), key=lambda item: version_key(item[0][1]), reverse=True)
    return [(name, version, folder) for (name, version), folder in sorted(ordered, key=lambda item: item[0][0])]


def is_built_in(folder: Path) -> bool:
    """True for packages that come with the program."""
    return folder.resolve().parent == BUILT_IN.resolve()
