"""Building packages: the same parts give the same bytes, so a package's digest can be reproduced."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors.numpy import save

from backend.manifest import check, document, files, golden, load, locate
from backend.manifest.package import Package
from backend.protocol.errors import OutputError, PackageError

ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can hold


def build(
    package: Package,
    parts: Mapping[str, Path | bytes],
    inputs: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, NDArray[Any]],
    folder: Path,
    samples: int = 16,
) -> Package:
    """Write a package into `folder`/NAME-VERSION and load it back, fully checked.

    Args:
        package: the description; `root` and `digest` are filled in.
        parts: the other files by name: graphs, weights, LICENSE, style, notes.
        inputs: golden inputs by name: image patches (B, C, h, w) that are repeated to the input's size, see `golden`.
        outputs: what the graph gives for the full inputs, before the activation, by name; sampled when stored.
        samples: values along each side of the stored outputs.

    Raises:
        PackageError: when the package would be refused on loading.
        OutputError: when the folder exists or cannot be written.
    """
    target = folder / locate.folder_name(package.name, package.version)
    if target.exists():
        raise OutputError(f"{target} exists", "", "remove it or raise the version")
    check.check(package)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".build-", dir=folder))
        try:
            _write_parts(package, parts, golden.pack(inputs, outputs, samples), work)
            load.load_folder(work)
            work.chmod(0o755)
            os.replace(work, target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"the package cannot be written to {folder}", error.strerror or str(error)) from error
    return load.load_folder(target)


def _write_parts(
    package: Package, parts: Mapping[str, Path | bytes], golden_arrays: Mapping[str, NDArray[Any]], work: Path
) -> None:
    if files.LICENCE not in parts:
        raise PackageError(f"the package has no {files.LICENCE}")
    for name, part in parts.items():
        files.check_name(name)
        if isinstance(part, bytes):
            (work / name).write_bytes(part)
        else:
            shutil.copyfile(part, work / name)
    (work / package.golden).write_bytes(save(dict(sorted(golden_arrays.items()))))
    sizes = {path.name: path.stat().st_size for path in sorted(work.iterdir())}
    content = document.encode(replace(package, root=work, digest=""), sizes)
    (work / files.DOCUMENT).write_text(
        json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8", newline="\n"
    )
    write_sums(work)


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS for all other files of a folder, sorted by name."""
    names = sorted(path.name for path in folder.iterdir() if path.name != files.SUMS)
    lines = [f"{files.sha256(folder / name)}  {name}\n" for name in names]
    (folder / files.SUMS).write_text("".join(lines), encoding="utf-8", newline="\n")


def zip_package(package: Package, path: Path) -> Path:
    """Write a package as a zip: sorted names, fixed times, the same bytes every time.

    Raises:
        OutputError: when the file cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for source in sorted(package.root.iterdir()):
                entry = zipfile.ZipInfo(source.name, ZIP_TIME)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                entry.create_system = 3  # as written on Unix, wherever it was
                entry.file_size = source.stat().st_size
                with source.open("rb") as file, archive.open(entry, "w") as member:
                    shutil.copyfileobj(file, member, 1 << 20)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written", error.strerror or str(error)) from error
    return path
