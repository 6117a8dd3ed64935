"""The packages on this computer: the built-in ones, and those the user installed."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from backend.manifest import archive, download, files, locate
from backend.manifest.home import home
from backend.manifest.load import load_folder
from backend.manifest.package import Package
from backend.protocol.errors import Cancelled, EarthPrismError, OutputError, PackageError

Progress = Callable[[float, str], None]  # share done (0 to 1) of what the text says
Stop = Callable[[], bool]
_WORK = ".work-"
_STALE_S = 86400.0  # work folders of a process that was killed are removed after a day


@dataclass(frozen=True)
class Installed:
    """What an installation did: `already` when the same package was there; sha256 of the zip, "" for a folder."""

    package: Package
    already: bool
    sha256: str


@dataclass(frozen=True)
class Listing:
    """Packages by name, newest version first, and the folders whose package cannot be used, with the reason."""

    packages: tuple[Package, ...]
    problems: tuple[tuple[Path, EarthPrismError], ...]


def list_installed() -> Listing:
    """Every package, without reading the weights (`load` compares the digests when one is used)."""
    packages: list[Package] = []
    problems: list[tuple[Path, EarthPrismError]] = []
    for _, _, folder in locate.candidates():
        try:
            packages.append(load_folder(folder, digests=False))
        except EarthPrismError as error:
            problems.append((folder, error))
    return Listing(tuple(packages), tuple(problems))


def install(
    source: str | Path,
    progress: Progress | None = None,
    cancelled: Stop | None = None,
    verify: Callable[[Package], object] | None = None,
) -> Installed:
    """Install a package from a folder, a zip, or an http(s) or file address; `#sha256=HEX` may follow a zip.

    It is checked in a folder of its own beside the store, then renamed into place: a package is there whole or
    not at all.

    Args:
        verify: called with the checked package before it is put in place; raises to refuse it.

    Raises:
        PackageError: when the package is refused, or another one of the same name and version is installed.
        OutputError: when it cannot be stored.
        Cancelled: when `cancelled` says so.
    """
    with _work_folder() as work:
        digest = _bring(source, work, progress, cancelled)
        package = load_folder(work)
        _check_before(package, verify, cancelled)
        return _put(package, work, work.parent, digest)


def install_made(
    make: Callable[[Path], Sequence[Package]],
    cancelled: Stop | None = None,
    verify: Callable[[Package], object] | None = None,
) -> tuple[Installed, ...]:
    """Install packages that belong together and are made here: all of them, or none.

    Args:
        make: writes the packages into a folder of their own beside the store, as `build` does.
        verify: see `install`.

    Raises:
        PackageError, OutputError, Cancelled: as `install`, and what `make` raises.
    """
    with _work_folder() as work:
        packages = make(work)
        for package in packages:
            _check_before(package, verify, cancelled)
        done: list[Installed] = []
        try:
            for package in packages:
                done.append(_put(package, package.root, work.parent, ""))
        except EarthPrismError:
            for installed in done:
                if not installed.already:
                    shutil.rmtree(installed.package.root, ignore_errors=True)
            raise
        return tuple(done)


@contextmanager
def fetched(
    address: download.Address, suffix: str, progress: Progress | None, cancelled: Stop | None
) -> Iterator[tuple[Path, str]]:
    """Fetch a file for as long as the block takes; gives its path and sha256. What breaks off goes on the next time.

    Raises:
        PackageError, OutputError, Cancelled: see `download.fetch`.
    """
    folder = home() / "downloads"
    target = folder / f"{sha256(address.url.encode()).hexdigest()[:16]}{suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield target, download.fetch(address, target, _named(progress, "downloading"), cancelled)
    except OSError as error:
        raise OutputError(f"{target} cannot be written", error.strerror or str(error)) from error
    finally:
        target.unlink(missing_ok=True)


@contextmanager
def _work_folder() -> Iterator[Path]:
    """A folder of its own inside the store, removed with what is left in it."""
    store = locate.installed_root()
    try:
        store.mkdir(parents=True, exist_ok=True)
        _clean(store)
        work = Path(tempfile.mkdtemp(prefix=_WORK, dir=store))
    except OSError as error:
        raise OutputError(f"packages cannot be stored in {store}", error.strerror or str(error)) from error
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_before(package: Package, verify: Callable[[Package], object] | None, cancelled: Stop | None) -> None:
    """What has to be in order before a package is put in place."""
    if verify is not None:
        verify(package)
    if cancelled is not None and cancelled():
        raise Cancelled("the installation was cancelled")


def remove(reference: str) -> str:
    """Remove an installed package, also a damaged one, by name or name@version; returns name@version.

    Raises:
        PackageError: when it is not installed, is built in, has several versions and none was named, or heads need it.
    """
    name, _, version = reference.partition("@")
    found = [
        (number, folder) for known, number, folder in locate.candidates() if known == name and version in ("", number)
    ]
    if not found:
        raise PackageError(f'there is no model package "{reference}"', "", 'see "earthprism models list"')
    own = [(number, folder) for number, folder in found if not locate.is_built_in(folder)]
    if not own:
        raise PackageError(f"{reference} is built in and cannot be removed")
    if len(own) > 1:
        numbers = ", ".join(number for number, _ in own)
        raise PackageError(f"{name} is installed in several versions", numbers, f"name one, as in {name}@{own[0][0]}")
    number, folder = own[0]
    _check_unused(f"{name}@{number}", folder)
    try:
        grave = Path(tempfile.mkdtemp(prefix=_WORK, dir=folder.parent))
        os.replace(folder, grave / folder.name)  # in one step: a half-removed package is never seen
        shutil.rmtree(grave, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{reference} cannot be removed", error.strerror or str(error)) from error
    return f"{name}@{number}"


def _check_unused(reference: str, folder: Path) -> None:
    """Raise PackageError when installed heads need the package in this folder."""
    packages = list_installed().packages
    digest = next((package.digest for package in packages if package.root == folder), None)
    heads = [package.reference for package in packages if digest is not None and package.encoder == digest]
    if heads:
        raise PackageError(f"{reference} cannot be removed", f"{', '.join(heads)} need it", "remove them first")


def _bring(source: str | Path, work: Path, progress: Progress | None, cancelled: Stop | None) -> str:
    """Fill the work folder from the source; returns the sha256 of the zip."""
    text = str(source)
    if isinstance(source, str) and urlsplit(text).scheme.lower() in ("http", "https"):
        return _bring_from_web(text, work, progress, cancelled)
    path, expected = _local(source)
    if path.is_dir():
        _copy_folder(path, work, cancelled)
        return ""
    if not path.is_file():
        raise PackageError(
            f"there is no package at {path}", "", "give a package folder, a zip file or an https address"
        )
    digest = files.sha256(path)
    if expected and digest != expected:
        raise PackageError(
            f"{path} is not the expected file", f"its sha256 begins with {digest[:12]}, not {expected[:12]}"
        )
    archive.unpack(path, work, _named(progress, "unpacking"), cancelled)
    return digest


def _local(source: str | Path) -> tuple[Path, str]:
    """Path and wanted sha256 of a local source; a file name may itself contain "#"."""
    if isinstance(source, Path) or Path(source).exists():
        return Path(source), ""
    text, _, fragment = source.partition("#sha256=")
    parts = urlsplit(text)
    if parts.scheme.lower() == "file":
        return Path(url2pathname(parts.path)), fragment.lower()
    if "://" in text:
        download.parse(text)  # says which schemes there are
    return Path(text), fragment.lower()


def _bring_from_web(text: str, work: Path, progress: Progress | None, cancelled: Stop | None) -> str:
    with fetched(download.parse(text), ".zip", progress, cancelled) as (path, digest):
        archive.unpack(path, work, _named(progress, "unpacking"), cancelled)
        return digest


def _named(progress: Progress | None, text: str) -> Callable[[float], None] | None:
    return None if progress is None else lambda share: progress(share, text)


def _copy_folder(path: Path, work: Path, cancelled: Stop | None) -> None:
    for name in files.file_sizes(path):
        if cancelled is not None and cancelled():
            raise Cancelled("the installation was cancelled")
        try:
            shutil.copyfile(path / name, work / name)
        except OSError as error:
            raise OutputError(f"{name} cannot be copied", error.strerror or str(error)) from error


def _put(package: Package, work: Path, store: Path, digest: str) -> Installed:
    """Rename a checked work folder to its place, unless the package is there already."""
    target = store / locate.folder_name(package.name, package.version)
    for name, version, folder in locate.candidates():
        if (name, version) == (package.name, package.version):
            return _already(package, folder, digest)
    try:
        work.chmod(0o755)
        os.replace(work, target)
    except OSError as error:
        if (target / files.SUMS).is_file():  # another process was faster
            return _already(package, target, digest)
        raise OutputError(f"the package cannot be stored in {store}", error.strerror or str(error)) from error
    return Installed(load_folder(target, digests=False), False, digest)


def _already(package: Package, folder: Path, digest: str) -> Installed:
    if files.read_sums(folder)[1] != package.digest:
        raise PackageError(
            f"another package called {package.reference} is installed",
            f"it lies in {folder}",
            "remove that one first, or ask the author for a new version number",
        )
    return Installed(load_folder(folder), True, digest)


def _clean(store: Path) -> None:
    """Remove what killed processes left."""
    for folder in store.glob(f"{_WORK}*"):
        if time.time() - folder.stat().st_mtime > _STALE_S:
            shutil.rmtree(folder, ignore_errors=True)
