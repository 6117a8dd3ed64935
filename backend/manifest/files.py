"""The files of a package folder: which names are safe, what belongs, strict JSON, digests."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Any

from backend.protocol.errors import PackageError

DOCUMENT, SUMS, LICENCE = "model.json", "SHA256SUMS", "LICENSE"
REQUIRED = (DOCUMENT, SUMS, LICENCE)
SUFFIXES = (".safetensors", ".onnx", ".data", ".qml", ".md", ".png")  # nothing that is code or can hold any
MOST_FILES = 100
LARGEST_DOCUMENT = 1 << 20
LARGEST_PACKAGE = 32 << 30  # ten times the largest model foreseen
LARGEST_GOLDEN = 200_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # devices on Windows
_PICKLE = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".npy", ".npz")
_SUM_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")
_BLOCK = 1 << 20


def check_name(name: str) -> None:
    """Raise PackageError unless a name is safe on every system and of a kind that belongs into a package."""
    shown = json.dumps(name)[:120]
    if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name) or name.endswith("."):
        raise PackageError(
            f"the package holds a file with the unsafe name {shown}",
            "names are plain letters, digits, points, hyphens and underscores, without folders",
        )
    if name in REQUIRED:
        return
    if name.lower().endswith(_PICKLE):
        raise PackageError(
            f"the package holds {shown}",
            "such files can carry code that runs when they are opened",
            "ask for weights as .safetensors or .onnx",
        )
    if not name.endswith(SUFFIXES):
        accepted = ", ".join((*REQUIRED, *SUFFIXES))
        raise PackageError(f"the package holds {shown}", f"only {accepted} belong into a package")


def file_sizes(root: Path) -> dict[str, int]:
    """Names and sizes in bytes of everything in a package folder.

    Raises:
        PackageError: for links, folders, special files, unsafe or forbidden names, too many or too large files, or when
            a required file is missing.
    """
    sizes: dict[str, int] = {}
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
        for entry in entries[: MOST_FILES + 1]:
            details = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(details.st_mode):
                kind = "a link" if stat.S_ISLNK(details.st_mode) else "a folder" if entry.is_dir() else "a special file"
                raise PackageError(
                    f"the package holds {kind}, {json.dumps(entry.name)}", "only plain files are accepted"
                )
            check_name(entry.name)
            sizes[entry.name] = details.st_size
    except OSError as error:
        raise PackageError(f"the package {root} cannot be read", error.strerror or str(error)) from error
    if len(sizes) > MOST_FILES:
        raise PackageError("the package holds too many files", f"more than {MOST_FILES}")
    check_set(sizes)
    return sizes


def check_set(sizes: dict[str, int]) -> None:
    """Raise PackageError for names that only differ in case, a missing required file, or too much data."""
    spellings: dict[str, str] = {}
    for name in sizes:
        other = spellings.setdefault(name.lower(), name)
        if other != name:
            raise PackageError(
                f'the package holds both "{other}" and "{name}"', "they are one and the same file on some systems"
            )
    for name in REQUIRED:
        if name not in sizes:
            raise PackageError(f"the package has no {name}", "", "is this a model package?")
    if sum(sizes.values()) > LARGEST_PACKAGE:
        raise PackageError("the package is too large", f"more than {LARGEST_PACKAGE >> 30} GiB")
    if sizes[DOCUMENT] > LARGEST_DOCUMENT:
        raise PackageError(f"{DOCUMENT} is too large", f"more than {LARGEST_DOCUMENT >> 20} MiB")


def read_sums(root: Path) -> tuple[dict[str, str], str]:
    """File names with their sha256, and the package's digest: the sha256 of SHA256SUMS itself.

    Raises:
        PackageError: when a line is malformed or names an unsafe file or one file twice.
    """
    content = read_small(root / SUMS, MOST_FILES * 200)
    sums: dict[str, str] = {}
    for line in content.decode("utf-8", errors="replace").splitlines():
        match = _SUM_LINE.fullmatch(line)
        if match is None:
            raise PackageError(f"{SUMS} has a malformed line", json.dumps(line[:100]))
        digest, name = match.groups()
        check_name(name)
        if name in sums or name == SUMS:
            raise PackageError(f"{SUMS} lists {name} where it must not", "each other file is listed once")
        sums[name] = digest
    return sums, hashlib.sha256(content).hexdigest()


def check_listed(sums: dict[str, str], sizes: dict[str, int]) -> None:
    """Raise PackageError unless SHA256SUMS lists exactly the files that are there."""
    present = set(sizes) - {SUMS}
    for name in sorted(present - set(sums)):
        raise PackageError(f'the package holds the extra file "{name}"', f"{SUMS} does not list it")
    for name in sorted(set(sums) - present):
        raise PackageError(f'the package lacks the file "{name}"', f"{SUMS} lists it")


def check_digests(root: Path, sums: dict[str, str]) -> None:
    """Raise PackageError when a file's sha256 is not the listed one."""
    for name, digest in sorted(sums.items()):
        if sha256(root / name) != digest:
            raise PackageError(
                f'the file "{name}" of the package is damaged or was changed',
                f"its sha256 is not the one in {SUMS}",
                "install the package again",
            )


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file (PackageError when it cannot be read)."""
    result = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                result.update(block)
    except OSError as error:
        raise PackageError(f"{path.name} cannot be read", error.strerror or str(error)) from error
    return result.hexdigest()


def read_small(path: Path, limit: int) -> bytes:
    """All bytes of a file of at most `limit` bytes (PackageError otherwise)."""
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise PackageError(f"{path.name} cannot be read", error.strerror or str(error)) from error
    if len(content) > limit:
        raise PackageError(f"{path.name} is too large", f"more than {limit} bytes")
    return content


def parse_json(content: bytes, name: str) -> Any:
    """Strict JSON: UTF-8, no key twice, no NaN or infinity, no absurd numbers or nesting (PackageError)."""
    try:
        return json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_short,
        )
    except UnicodeDecodeError as error:
        raise PackageError(f"{name} is not UTF-8 text", f"at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise PackageError(f"{name} is not JSON", f"{error.msg} in line {error.lineno}") from error
    except RecursionError as error:
        raise PackageError(f"{name} is nested too deeply") from error
    except _BadValue as error:
        raise PackageError(f"{name} is refused", str(error)) from error


class _BadValue(ValueError):
    """A value that JSON libraries read but that has no place here."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise _BadValue(f'the key "{key[:60]}" is there twice')
        result[key] = value
    return result


def _no_constant(text: str) -> float:
    raise _BadValue(f"{text} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _BadValue(f"the number {text[:40]} is too large")
    return value


def _short(text: str) -> int:
    if len(text) > 18:
        raise _BadValue(f"the number {text[:40]} is too large")
    return int(text)
