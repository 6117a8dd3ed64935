"""Unpacking zips: what a package needs, and every known way to abuse a zip."""

from __future__ import annotations

import struct
import warnings
import zipfile
from pathlib import Path

import pytest

from backend.manifest import archive
from backend.protocol.errors import Cancelled, PackageError

BASE = {"model.json": b"{}", "LICENSE": b"free", "SHA256SUMS": b""}


def _zip(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in entries.items():
            file.writestr(zipfile.ZipInfo(name), content, method)
    return path


def _add(path: Path, name: str, mode: int = 0o100644, content: bytes = b"x") -> Path:
    info = zipfile.ZipInfo("placeholder")
    info.filename = info.orig_filename = name
    info.external_attr = mode << 16
    info.create_system = 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of double names
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(info, content)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def _refused(path: Path, target: Path, named: str) -> None:
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(PackageError) as caught:
        archive.unpack(path, target)
    assert named in str(caught.value)
    after = [item for item in sorted(path.parent.rglob("*")) if target not in item.parents]
    assert after == [item for item in before if target not in item.parents]


@pytest.mark.parametrize("folder", ["", "name-1.0.0/"])
def test_files_at_the_top_or_in_one_folder(tmp_path: Path, target: Path, folder: str) -> None:
    path = _zip(tmp_path / "a.zip", {folder + name: content for name, content in BASE.items()})
    shares: list[float] = []
    archive.unpack(path, target, shares.append)
    assert {item.name: item.read_bytes() for item in target.iterdir()} == BASE
    assert shares[-1] == 1.0 and shares == sorted(shares)


def test_explicit_entry_of_the_one_folder(tmp_path: Path, target: Path) -> None:
    path = _zip(tmp_path / "a.zip", {"n/": b"", **{f"n/{name}": content for name, content in BASE.items()}})
    archive.unpack(path, target)
    assert {item.name for item in target.iterdir()} == set(BASE)


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("../evil.md", "unsafe name"),
        ("a/../../evil.md", "unsafe name"),
        ("/etc/evil.md", "unsafe name"),
        ("..\\evil.md", "unsafe name"),
        ("\\\\server\\evil.md", "unsafe name"),
        ("C:evil.md", "unsafe name"),
        ("evil.md\0.png", "unsafe name"),
        ("sub/evil.md", "unsafe name"),
        ("con.md", "unsafe name"),
        ("evil.pkl", "code"),
        ("evil.py", "belong"),
        ("sub/", "folder"),
        ("LICENSE", "twice"),
        ("license.md", ""),
    ],
)
def test_names(tmp_path: Path, target: Path, name: str, named: str) -> None:
    path = _add(_zip(tmp_path / "a.zip", BASE), name)
    if not named:
        archive.unpack(path, target)
        return
    _refused(path, target, named)


@pytest.mark.parametrize(
    ("mode", "named"), [(0o120777, "a link"), (0o020666, "a special file"), (0o010644, "a special file")]
)
def test_links_and_devices(tmp_path: Path, target: Path, mode: int, named: str) -> None:
    path = _add(_zip(tmp_path / "a.zip", BASE), "readme.md", mode, b"/etc/passwd")
    _refused(path, target, named)
    assert list(target.iterdir()) == []


def test_bomb_by_ratio(tmp_path: Path, target: Path) -> None:
    path = _zip(tmp_path / "a.zip", {**BASE, "zeros.data": bytes(20 << 20)})
    _refused(path, target, "fill disks")
    assert list(target.iterdir()) == []


def test_bomb_by_number(tmp_path: Path, target: Path) -> None:
    path = _zip(tmp_path / "a.zip", {**BASE, **{f"{n}.md": b"" for n in range(300)}})
    _refused(path, target, "too many")


def test_bomb_by_announced_size(tmp_path: Path, target: Path) -> None:
    path = _zip(tmp_path / "a.zip", {**BASE, "big.data": b"0123456789"}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"big.data") - 46  # the entry in the central directory
    struct.pack_into("<II", content, at + 20, 0xFFFFFFF0, 0xFFFFFFF0)
    path.write_bytes(content)
    _refused(path, target, "")


def test_content_larger_than_announced(tmp_path: Path, target: Path) -> None:
    path = _zip(tmp_path / "a.zip", {**BASE, "big.data": bytes(5000)})
    content = bytearray(path.read_bytes())
    at = content.rindex(b"big.data") - 46
    struct.pack_into("<I", content, at + 24, 10)
    path.write_bytes(content)
    _refused(path, target, "")
    assert not (target / "big.data").exists() or (target / "big.data").stat().st_size <= 10


def test_encrypted(tmp_path: Path, target: Path) -> None:
    path = _zip(tmp_path / "a.zip", BASE)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"LICENSE") - 46
    content[at + 8] |= 1
    path.write_bytes(content)
    _refused(path, target, "encrypted")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_compression(tmp_path: Path, target: Path, method: int) -> None:
    _refused(_zip(tmp_path / "a.zip", BASE, method), target, "compressed")


def test_damaged(tmp_path: Path, target: Path) -> None:
    path = _zip(tmp_path / "a.zip", {**BASE, "x.data": bytes(range(256)) * 40}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(b"x.data") + 500] ^= 1
    path.write_bytes(content)
    _refused(path, target, "damaged")
    path.write_bytes(b"PK\x03\x04 this is no zip")
    _refused(path, target, "not a zip file")


def test_cancel(tmp_path: Path, target: Path) -> None:
    with pytest.raises(Cancelled):
        archive.unpack(_zip(tmp_path / "a.zip", BASE), target, cancelled=lambda: True)
