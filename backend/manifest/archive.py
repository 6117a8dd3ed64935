"""Unpacking a package's zip into a folder, refusing everything a package does not need."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from backend.manifest import files
from backend.protocol.errors import Cancelled, OutputError, PackageError

HIGHEST_RATIO = 200  # unpacked to packed size; deflate reaches 1000 on zeros, real weights and text stay below 20
FREE_BYTES = 10 << 20  # a small archive may have any ratio up to this unpacked size
_BLOCK = 1 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

Progress = Callable[[float], None]  # share done, 0 to 1
Stop = Callable[[], bool]


def unpack(path: Path, folder: Path, progress: Progress | None = None, cancelled: Stop | None = None) -> None:
    """Unpack a zip whose files lie at its top, or all in one folder, into an existing empty folder.

    Raises:
        PackageError: for a damaged or encrypted archive, links, special files, unsafe or double names, or a bomb.
        OutputError: when the folder cannot be written, as on a full disk.
        Cancelled: when `cancelled` says so.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive)
            total, done = sum(info.file_size for info in members.values()), 0
            for name, info in members.items():
                for size in _extract(archive, info, folder / name):
                    done += size
                    if cancelled is not None and cancelled():
                        raise Cancelled("unpacking was cancelled")
                    if progress is not None and total:
                        progress(done / total)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise PackageError(f"{path.name} is not a zip file, or a damaged one", str(error)) from error


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Files to unpack by their name in the package."""
    entries = archive.infolist()
    if len(entries) > 2 * files.MOST_FILES:
        raise PackageError("the zip holds too many files", f"{len(entries)}")
    for info in entries:
        _check_entry(info)
    plain = [info for info in entries if not info.is_dir()]
    prefix = _common_folder([info.filename for info in plain])
    members: dict[str, zipfile.ZipInfo] = {}
    for info in plain:
        name = info.filename.removeprefix(prefix)
        files.check_name(name)
        if name in members:
            raise PackageError(f'the zip holds "{name}" twice')
        members[name] = info
    for info in entries:
        if info.is_dir() and info.filename != prefix:
            raise PackageError(
                f'the zip holds the folder "{info.filename[:80]}"', "the files of a package lie side by side"
            )
    files.check_set({name: info.file_size for name, info in members.items()})
    return members


def _check_entry(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename  # as stored: zipfile itself cuts at a zero byte
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in name or "\0" in name or "\\" in name:
        raise PackageError(f"the zip holds the unsafe name {name[:80]!r}", "it would be written outside its folder")
    if info.flag_bits & 0x1:
        raise PackageError("the zip is encrypted", f'"{name[:80]}" needs a password')
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "a link" if stat.S_ISLNK(mode) else "a special file"
        raise PackageError(f'the zip holds {kind}, "{name[:80]}"', "only plain files are accepted")
    if info.compress_type not in _METHODS:
        raise PackageError(
            f'"{name[:80]}" is compressed in a way that is not accepted', "stored and deflated files are"
        )
    if info.file_size > FREE_BYTES and info.file_size > HIGHEST_RATIO * max(1, info.compress_size):
        raise PackageError(
            f'the zip is refused because of "{name[:80]}"',
            f"{info.compress_size} bytes would unpack to {info.file_size}: such files are made to fill disks",
        )


def _common_folder(names: list[str]) -> str:
    """The one folder that holds everything, with its slash; "" when the files lie at the top."""
    tops = {name.partition("/")[0] for name in names}
    return f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in names) else ""


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> Iterator[int]:
    """Write one file, yielding the size of each block; never more bytes than were announced."""
    left = info.file_size
    try:
        with archive.open(info) as member, target.open("xb") as file:
            while block := member.read(_BLOCK):
                left -= len(block)
                if left < 0:
                    raise PackageError(
                        f'the zip is refused because of "{info.filename[:80]}"', "it holds more than it announces"
                    )
                file.write(block)
                yield len(block)
    except OSError as error:
        raise OutputError(
            f"{target.name} cannot be unpacked", error.strerror or str(error), "make room on the disk and try again"
        ) from error
    if left:
        raise PackageError(f'"{info.filename[:80]}" in the zip is cut short')
