"""Installing from folders, zips and addresses; listing, finding and removing."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from backend.manifest import download, locate, store
from backend.manifest.build import zip_package
from backend.manifest.load import load
from backend.manifest.package import Package
from backend.protocol.errors import Cancelled, InputError, OutputError, PackageError
from tests.packages import encoder_and_heads, identity_package, threshold_package


@dataclass(frozen=True)
class Sample:
    """A package, its zip and the zip's sha256."""

    package: Package
    zip: Path
    digest: str


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    folder = tmp_path_factory.mktemp("sample")
    package = identity_package(folder, bands=2, window=32)
    path = zip_package(package, folder / "identity.zip")
    return Sample(package, path, hashlib.sha256(path.read_bytes()).hexdigest())


def _files(folder: Path) -> list[str]:
    """Everything below a folder, without empty folders."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _same(installed: Package, original: Package) -> bool:
    return replace(installed, root=original.root) == original


@pytest.mark.parametrize(
    "form", ["folder", "zip", "zip text", "file address", "zip with digest", "file address with digest"]
)
def test_install_from_this_computer(store_folder: Path, sample: Sample, form: str) -> None:
    source: Any = {
        "folder": sample.package.root,
        "zip": sample.zip,
        "zip text": str(sample.zip),
        "file address": sample.zip.as_uri(),
        "zip with digest": f"{sample.zip}#sha256={sample.digest}",
        "file address with digest": f"{sample.zip.as_uri()}#sha256={sample.digest.upper()}",
    }[form]
    result = store.install(source)
    assert not result.already
    assert result.sha256 == ("" if form == "folder" else sample.digest)
    assert _same(result.package, sample.package)
    assert result.package.root == store_folder / "identity-1.0.0"
    assert [path.name for path in store_folder.iterdir()] == ["identity-1.0.0"]
    assert load("identity") == load("identity@1.0.0") == result.package


def test_install_from_the_web(store_folder: Path, sample: Sample, web: Any) -> None:
    web.files["identity.zip"] = sample.zip.read_bytes()
    told: list[tuple[float, str]] = []
    result = store.install(f"{web.address}/identity.zip", lambda share, text: told.append((share, text)))
    assert result.sha256 == sample.digest and _same(result.package, sample.package)
    assert ("downloading", 1.0) in {(text, share) for share, text in told}
    assert ("unpacking", 1.0) in {(text, share) for share, text in told}
    assert _files(store_folder.parent / "downloads") == []


def test_install_again_is_recognised(store_folder: Path, sample: Sample, tmp_path: Path) -> None:
    store.install(sample.zip)
    again = store.install(sample.package.root)
    assert again.already and _same(again.package, sample.package)
    other = identity_package(tmp_path, bands=2, window=32, title="Another one")
    with pytest.raises(PackageError, match=r"another package called identity@1\.0\.0"):
        store.install(other.root)
    assert _same(load("identity"), sample.package)


def test_a_damaged_installation_is_not_taken_for_the_same(store_folder: Path, sample: Sample) -> None:
    installed = store.install(sample.zip).package
    installed.path("model.onnx").write_bytes(b"damaged")
    with pytest.raises(PackageError):
        load("identity")
    with pytest.raises(PackageError):
        store.install(sample.zip)
    assert [path for path, _ in store.list_installed().problems] == [installed.root]
    assert store.remove("identity") == "identity@1.0.0"
    assert not store.install(sample.zip).already


def test_listing_finds_the_newest_first(store_folder: Path, sample: Sample, tmp_path: Path) -> None:
    for version in ("1.9.0", "1.10.0"):
        store.install(identity_package(tmp_path, version=version).root)
    store.install(threshold_package(tmp_path, window=16).root)
    own = [package for package in store.list_installed().packages if not locate.is_built_in(package.root)]
    assert [package.reference for package in own] == ["identity@1.10.0", "identity@1.9.0", "threshold@1.0.0"]
    assert load("identity").version == "1.10.0"
    assert load("identity@1.9.0").version == "1.9.0"
    with pytest.raises(PackageError, match=r"identity@1\.10\.0, identity@1\.9\.0"):
        load("identity@2.0.0")
    with pytest.raises(PackageError, match="several versions"):
        store.remove("identity")
    assert store.remove("identity@1.10.0") == "identity@1.10.0"
    assert load("identity").version == "1.9.0"


def test_remove(store_folder: Path, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.install(sample.zip)
    store.remove("identity")
    assert list(store_folder.iterdir()) == []
    with pytest.raises(PackageError, match="there is no model package"):
        store.remove("identity")
    monkeypatch.setattr(locate, "BUILT_IN", tmp_path / "built-in")
    identity_package(tmp_path / "built-in")
    with pytest.raises(PackageError, match="built in"):
        store.remove("identity")
    assert load("identity").root == tmp_path / "built-in" / "identity-1.0.0"


@pytest.mark.parametrize("name", ["..", "../models", "/", "identity/..", "", "identity@..", "*"])
def test_remove_takes_names_only(store_folder: Path, sample: Sample, name: str) -> None:
    store.install(sample.zip)
    with pytest.raises(PackageError):
        store.remove(name)
    assert _same(load("identity"), sample.package)


def test_an_encoder_stays_while_heads_need_it(store_folder: Path, tmp_path: Path) -> None:
    encoder, (head,) = encoder_and_heads(tmp_path, 1, window=16)
    store.install(encoder.root)
    store.install(head.root)
    with pytest.raises(PackageError, match=r"tiny-head-1@1\.0\.0 need it"):
        store.remove("tiny-encoder")
    store.remove("tiny-head-1")
    store.remove("tiny-encoder")


def test_a_package_that_fails_verification_is_not_installed(store_folder: Path, sample: Sample) -> None:
    def fail(package: Package) -> None:
        assert package.root.is_dir()
        raise PackageError("it does not compute what it should")

    with pytest.raises(PackageError, match="does not compute"):
        store.install(sample.zip, verify=fail)
    assert list(store_folder.iterdir()) == []


def test_nothing_stays_of_a_refused_package(store_folder: Path, sample: Sample, tmp_path: Path) -> None:
    spoiled = Path(shutil.copytree(sample.package.root, tmp_path / "spoiled"))
    (spoiled / "model.onnx").write_bytes(b"x")
    with pytest.raises(PackageError, match=r"model\.onnx"):
        store.install(spoiled)
    (spoiled / "weights.pkl").write_bytes(b"x")
    with pytest.raises(PackageError, match=r"weights\.pkl"):
        store.install(spoiled)
    assert list(store_folder.iterdir()) == []


def test_local_source_with_a_wrong_digest(store_folder: Path, sample: Sample) -> None:
    with pytest.raises(PackageError, match="not the expected file"):
        store.install(f"{sample.zip}#sha256={'0' * 64}")


@pytest.mark.parametrize(
    "source",
    [
        "nowhere.zip",
        "ftp://example.org/a.zip",
        "data://x/a.zip",
        "https://" + "user:word@127.0.0.1/a.zip",
        "file:///nowhere",
    ],
)
def test_sources_that_cannot_be_used(store_folder: Path, source: str) -> None:
    with pytest.raises(InputError):
        store.install(source)
    assert _files(store_folder.parent) == []


@pytest.mark.parametrize("when", range(6))
def test_cancelling_leaves_nothing(store_folder: Path, sample: Sample, web: Any, when: int) -> None:
    web.files["identity.zip"] = sample.zip.read_bytes()
    asked = iter(range(1000))
    with pytest.raises(Cancelled):
        store.install(f"{web.address}/identity.zip", cancelled=lambda: next(asked) >= when)
    assert _files(store_folder.parent) == []


def test_cancelling_a_folder_leaves_nothing(store_folder: Path, sample: Sample) -> None:
    with pytest.raises(Cancelled):
        store.install(sample.package.root, cancelled=lambda: True)
    assert _files(store_folder.parent) == []


def test_a_full_disk_is_an_output_error(store_folder: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OutputError, match="No space left"):
        store.install(sample.package.root)
    assert _files(store_folder.parent) == []


def test_a_store_that_cannot_be_made(sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("EARTHPRISM_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(OutputError, match="cannot be stored"):
        store.install(sample.zip)


def test_what_a_killed_installation_left_is_removed_after_a_day(store_folder: Path, sample: Sample) -> None:
    store_folder.mkdir(parents=True)
    old, new = store_folder / ".work-old", store_folder / ".work-new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"x")
    os.utime(old, (0, 0))
    store.install(sample.zip)
    assert not old.exists() and new.exists()


# Download


def _fetch(web: Any, target: Path, digest: str = "", **options: Any) -> str:
    return download.fetch(download.Address(f"{web.address}/a.bin", digest), target, **options)


CONTENT = bytes(range(256)) * 8000  # 2 MB


def test_fetch(web: Any, store_folder: Path, tmp_path: Path) -> None:
    web.files["a.bin"] = CONTENT
    digest = hashlib.sha256(CONTENT).hexdigest()
    shares: list[float] = []
    assert _fetch(web, tmp_path / "a", digest, progress=shares.append) == digest
    assert (tmp_path / "a").read_bytes() == CONTENT and sorted(shares) == shares and shares[-1] == 1.0
    assert _files(tmp_path) == ["a"]


def test_a_broken_download_continues_at_once(web: Any, store_folder: Path, tmp_path: Path) -> None:
    web.files["a.bin"] = CONTENT
    web.breaks = [1_000_000, 500_000]
    _fetch(web, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert [asked for _, asked in web.requests] == ["", "bytes=1000000-", "bytes=1500000-"]


def test_a_download_that_broke_off_continues_in_the_next_call(web: Any, store_folder: Path, tmp_path: Path) -> None:
    web.files["a.bin"] = CONTENT
    web.breaks = [700_000, 0, 0]
    with pytest.raises(PackageError, match="connection broke after 700000"):
        _fetch(web, tmp_path / "a")
    assert not (tmp_path / "a").exists() and (tmp_path / "a.part").stat().st_size == 700_000
    web.requests.clear()
    _fetch(web, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert [asked for _, asked in web.requests] == ["bytes=700000-"]
    assert _files(tmp_path) == ["a"]


@pytest.mark.parametrize("flaw", ["no ranges", "no tag", "weak tag", "no length"])
def test_servers_that_cannot_continue_start_again(web: Any, store_folder: Path, tmp_path: Path, flaw: str) -> None:
    web.files["a.bin"] = CONTENT
    web.ranges = flaw != "no ranges"
    web.etag = {"no tag": "", "weak tag": 'W/"1"'}.get(flaw, '"1"')
    web.length = flaw != "no length"
    web.breaks = [] if flaw == "no length" else [900_000]
    _fetch(web, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_fetched_anew(web: Any, store_folder: Path, tmp_path: Path) -> None:
    web.files["a.bin"] = CONTENT
    web.breaks = [700_000, 0, 0]
    with pytest.raises(PackageError):
        _fetch(web, tmp_path / "a")
    web.files["a.bin"], web.etag = CONTENT[::-1], '"2"'
    _fetch(web, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT[::-1]


def test_a_part_that_is_already_whole(web: Any, store_folder: Path, tmp_path: Path) -> None:
    web.files["a.bin"] = CONTENT
    (tmp_path / "a.part").write_bytes(CONTENT)
    (tmp_path / "a.part.json").write_text(f'{{"url": "{web.address}/a.bin", "tag": "\\"1\\""}}')
    _fetch(web, tmp_path / "a")  # the server answers 416 to the request for more
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("note", ["", "{", "[]", '{"url": "http://other/", "tag": "1"}', '{"url": 1, "tag": null}'])
def test_a_part_of_unknown_origin_is_not_continued(web: Any, store_folder: Path, tmp_path: Path, note: str) -> None:
    web.files["a.bin"] = CONTENT
    (tmp_path / "a.part").write_bytes(b"something else")
    (tmp_path / "a.part.json").write_text(note)
    _fetch(web, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_another_part_than_asked_for_is_refused(web: Any, store_folder: Path, tmp_path: Path) -> None:
    web.files["a.bin"], web.wrong_range = CONTENT, True
    web.breaks = [900_000]
    with pytest.raises(PackageError, match="another part"):
        _fetch(web, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_wrong_digest_leaves_nothing(web: Any, store_folder: Path, tmp_path: Path) -> None:
    web.files["a.bin"] = CONTENT
    with pytest.raises(PackageError, match="not the expected file"):
        _fetch(web, tmp_path / "a", "0" * 64)
    assert _files(tmp_path) == []


@pytest.mark.parametrize("length", [True, False])
def test_a_file_that_is_too_large_leaves_nothing(web: Any, store_folder: Path, tmp_path: Path, length: bool) -> None:
    web.files["a.bin"], web.length = CONTENT, length
    with pytest.raises(PackageError, match="too large"):
        _fetch(web, tmp_path / "a", largest=1_000_000)
    assert _files(tmp_path) == []


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (500, 3), (503, 3)])
def test_a_server_that_refuses(web: Any, store_folder: Path, tmp_path: Path, status: int, requests: int) -> None:
    web.status = status
    with pytest.raises(PackageError, match=f"answered {status}"):
        _fetch(web, tmp_path / "a")
    assert len(web.requests) == requests and _files(tmp_path) == []


def test_nobody_answers(store_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="cannot be fetched"):
        download.fetch(download.Address("http://127.0.0.1:9/a.bin", ""), tmp_path / "a")
    with pytest.raises(PackageError, match="cannot be fetched"):
        download.fetch(download.Address("http://no-such-host.invalid/a.bin", ""), tmp_path / "a")


def test_redirects_stay_on_the_web(web: Any, store_folder: Path, tmp_path: Path) -> None:
    web.files["b.bin"], web.redirects["a.bin"] = CONTENT, f"{web.address}/b.bin"
    _fetch(web, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    for address in ("file:///etc/passwd", "ftp://127.0.0.1/x"):
        web.redirects["a.bin"] = address
        with pytest.raises(PackageError):
            _fetch(web, tmp_path / "b")
    assert _files(tmp_path) == ["a"]


def test_the_proxy_of_the_environment_is_used(
    web: Any, store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.files["a.bin"] = CONTENT
    monkeypatch.setenv("http_proxy", web.address)
    monkeypatch.setenv("no_proxy", "")
    download.fetch(download.Address("http://models.invalid/a.bin", ""), tmp_path / "a")
    assert web.requests[0][0] == "http://models.invalid/a.bin"


@pytest.mark.parametrize(
    "text", ["https://example.org/a.zip#sha256=12", "https://example.org/a.zip#md5=x", "https:///a.zip"]
)
def test_addresses_that_are_not_understood(text: str) -> None:
    with pytest.raises(InputError):
        download.parse(text)
