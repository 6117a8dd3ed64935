"""Installing published weights: fetched from the Hub, converted here, put in place as packages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from backend.manifest import hub, load, locate, store
from backend.manifest.hub import HubFile
from backend.manifest.package import Package
from backend.manifest.store import Installed, Progress, Stop
from backend.protocol.errors import DeviceError, PackageError
from backend.runtime.devices import installed
from backend.runtime.packing import published

LARGEST = 8 << 30  # several times the largest published file


def install(
    source: str, progress: Progress, cancelled: Stop, verify: Callable[[Package], object]
) -> tuple[Installed, ...]:
    """Install what `hf:…` names; nothing is fetched where it is there already.

    Returns:
        the packages that the file became, the one to work with last: a head comes after its encoder.

    Raises:
        InputError: the source is not understood, or leaves open which file is meant.
        PackageError: the file is refused, or another package has the name.
        DeviceError: torch is needed and not there.
        OutputError: the package cannot be stored.
        Cancelled: `cancelled` says so.
    """
    file = hub.parse(source)
    there = _present(file)
    if set(file.packages()) == set(there):
        found = [load.load_folder(there[name].root) for name in file.packages()]
        return tuple(Installed(package, True, _sha256(package)) for package in found)
    if not installed("torch"):
        fix = "install the full backend environment, which brings torch"
        raise DeviceError("published weights cannot be converted here", "torch is not installed", fix)
    if file.package in there:  # its encoder is gone, so that it is of no use
        raise PackageError(
            f"{there[file.package].reference} is installed without its encoder", "", "remove it, then install again"
        )
    with store.fetched(file.download_address(), hub.SUFFIX, progress, cancelled) as (path, digest):
        encoder = _same(there, digest)
        progress(0.0, "converting")

        def make(folder: Path) -> Sequence[Package]:
            return published.convert(path, published.Source(file, digest), folder, encoder)

        kept = () if encoder is None else (Installed(encoder, True, digest),)
        return (*kept, *(replace(done, sha256=digest) for done in store.install_made(make, cancelled, verify)))


def _present(file: HubFile) -> dict[str, Package]:
    """The packages of a file that are installed, by name.

    Raises:
        PackageError: one of them is damaged, or was made of another file.
    """
    found = {}
    for name, version, folder in locate.candidates():
        if name in file.packages() and version == published.VERSION:
            package = load.load_folder(folder, digests=False)
            address, _, digest = hub.origin(package).partition("#sha256=")
            if address != file.address or file.digest not in ("", digest):
                raise _another(package, folder)
            found[name] = package
    return found


def _same(there: dict[str, Package], digest: str) -> Package | None:
    """The encoder that is there, when it was made of the same content of the file."""
    for package in there.values():
        if _sha256(package) != digest:
            raise _another(package, package.root)
        return package
    return None


def _sha256(package: Package) -> str:
    return hub.origin(package).rpartition("=")[2]


def _another(package: Package, folder: Path) -> PackageError:
    return PackageError(
        f"another package called {package.reference} is installed", f"it lies in {folder}", "remove that one first"
    )
