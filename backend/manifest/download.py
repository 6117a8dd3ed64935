"""Fetching one file over HTTP: resumed after a break, checked, cancellable; proxies come from the environment."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any

from backend.manifest import files
from backend.protocol.errors import Cancelled, InputError, OutputError, PackageError

TIMEOUT_S = 30.0  # without any byte
ATTEMPTS = 3  # a broken connection is taken up again this often before giving up
_BLOCK = 1 << 18
_DIGEST = re.compile(r"sha256=([0-9a-fA-F]{64})")
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
# A URLError is also what an HTTPError is; TLS reports a break in its own way.
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError)

Progress = Callable[[float], None]  # share done, 0 to 1
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Address:
    """A URL without its fragment, and the sha256 the fragment asked for ("" when it did not)."""

    url: str
    digest: str


def parse(text: str) -> Address:
    """Read `https://…/file.zip#sha256=HEX`.

    Raises:
        InputError: for other schemes, credentials in the address or an unusable fragment.
    """
    parts = urllib.parse.urlsplit(text)
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        raise InputError(
            f'"{parts.scheme}" addresses cannot be fetched', "", "give an https address, a zip or a folder"
        )
    if parts.username or parts.password:
        raise InputError("the address contains a user name or password", "it would end up in logs", "leave them out")
    digest = ""
    if parts.fragment:
        match = _DIGEST.fullmatch(parts.fragment)
        if match is None:
            raise InputError(
                f'"#{parts.fragment[:80]}" is not understood', "", "write #sha256= and 64 hexadecimal digits"
            )
        digest = match[1].lower()
    return Address(urllib.parse.urlunsplit(parts._replace(fragment="")), digest)


def fetch(
    address: Address,
    target: Path,
    progress: Progress | None = None,
    cancelled: Stop | None = None,
    largest: int = files.LARGEST_PACKAGE,
) -> str:
    """Download to `target`, continuing `target`.part where it is the same file; returns the sha256.

    The part is kept when the connection breaks, so that a later call continues, and removed when the user cancels or
    the digest is wrong.

    Raises:
        PackageError: when the address cannot be reached, the file is too large or has another sha256.
        OutputError: when it cannot be written.
        Cancelled: when `cancelled` says so.
    """
    part = target.with_name(target.name + ".part")
    note = target.with_name(target.name + ".part.json")
    transfer = _Transfer(address.url, part, note, progress, cancelled, largest)
    try:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                transfer.run()
                break
            except _BROKEN as error:
                if attempt == ATTEMPTS or not _worth_another(error):
                    raise PackageError(
                        f"{address.url} cannot be fetched", _reason(error), "check the address and try again"
                    ) from error
        digest = files.sha256(part)
        if address.digest and digest != address.digest:
            raise _Discard(
                f"{address.url} is not the expected file",
                f"its sha256 begins with {digest[:12]}, not {address.digest[:12]}",
            )
        os.replace(part, target)
        note.unlink(missing_ok=True)
    except (Cancelled, _Discard):
        part.unlink(missing_ok=True)
        note.unlink(missing_ok=True)
        raise
    except OSError as error:
        raise OutputError(
            f"{target.name} cannot be stored", error.strerror or str(error), "make room on the disk and try again"
        ) from error
    return digest


class _Discard(PackageError):
    """What was fetched is of no use: the part is removed."""


class _Transfer:
    """Attempts to fetch one address into one part file."""

    def __init__(
        self, url: str, part: Path, note: Path, progress: Progress | None, cancelled: Stop | None, largest: int
    ) -> None:
        self._url, self._part, self._note = url, part, note
        self._progress, self._cancelled, self._largest = progress, cancelled, largest

    def run(self) -> None:
        """Fetch what is missing."""
        self._check_cancelled()
        done, tag = self._resume_point()
        headers = {"User-Agent": "EarthPrism", "Accept-Encoding": "identity"}
        request = urllib.request.Request(self._url, headers=headers)  # noqa: S310
        if done:
            request.add_header("Range", f"bytes={done}-")
            request.add_header("If-Range", tag)
        try:
            with _opener().open(request, timeout=TIMEOUT_S) as answer:
                self._receive(answer, done)
        except urllib.error.HTTPError as error:
            if error.code != 416:  # the range cannot be had: the part does not belong to what is there now
                raise
            self._part.unlink(missing_ok=True)
            raise ConnectionError("the server refused to continue") from error

    def _resume_point(self) -> tuple[int, str]:
        """Bytes there already and the mark of the file they belong to; 0 when they cannot be trusted."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            done = self._part.stat().st_size
        except (OSError, ValueError):
            return 0, ""
        if (
            not isinstance(note, dict)
            or note.get("url") != self._url
            or not isinstance(note.get("tag"), str)
            or not note["tag"]
        ):
            return 0, ""
        return done, note["tag"]

    def _receive(self, answer: Any, done: int) -> None:
        if answer.status == 206:
            match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if match is None or int(match[1]) != done:
                raise ConnectionError("the server sent another part than was asked for")
            expected = int(match[2]) if match[2] != "*" else None
        else:  # the whole file, because nothing was there, it has changed, or the server knows no ranges
            done = 0
            length = answer.headers.get("Content-Length", "")
            expected = int(length) if length.isdigit() else None
            note = {"url": self._url, "tag": _tag(answer.headers)}
            self._note.write_text(json.dumps(note), encoding="utf-8")
        if expected is not None:
            self._check_size(expected)
            _check_room(self._part, expected - done)
        with self._part.open("ab" if done else "wb") as file:
            done = self._copy(answer, file, done, expected)
            file.flush()
            os.fsync(file.fileno())
        if expected is not None and done < expected:
            raise ConnectionError(f"the connection broke after {done} of {expected} bytes")

    def _copy(self, answer: Any, file: IO[bytes], done: int, expected: int | None) -> int:
        while block := answer.read1(_BLOCK):
            self._check_cancelled()
            done += len(block)
            self._check_size(done)
            file.write(block)
            if self._progress is not None and expected:
                self._progress(min(1.0, done / expected))
        return done

    def _check_cancelled(self) -> None:
        if self._cancelled is not None and self._cancelled():
            raise Cancelled("the download was cancelled")

    def _check_size(self, size: int) -> None:
        if size > self._largest:
            raise _Discard(f"{self._url} is too large", f"more than {self._largest} bytes")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects within http and https, never from https down to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urllib.parse.urlsplit(newurl).scheme.lower()
        if scheme != "https" and not (scheme == "http" and req.type == "http"):
            raise _Discard(
                f"{req.full_url} cannot be fetched", f"it leads to a {scheme or 'strange'} address that is not accepted"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Knows http and https alone; proxies are those of the environment."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _tag(headers: Message) -> str:
    """What tells this content of the address from another: a strong ETag, else the date; "" allows no continuation."""
    etag = str(headers.get("ETag", ""))
    return etag if etag and not etag.startswith("W/") else str(headers.get("Last-Modified", ""))


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise OutputError(
            f"there is no room for {part.stem}",
            f"{needed >> 20} MiB are needed, {free >> 20} MiB are free",
            "make room on the disk",
        )


def _worth_another(error: Exception) -> bool:
    """True for breaks; a server's clear no, or an unknown host, will not change by asking again at once."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in (408, 429, 500, 502, 503, 504)
    return not isinstance(error, urllib.error.URLError)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(reason) or type(error).__name__
