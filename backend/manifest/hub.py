"""Published weights on the Hugging Face Hub: how a source names them, what is known of them, where they lie.

One file is fetched by its address, and nothing else: neither the Hub's own client nor any code that lies beside the
weights takes part. What is known is data (`hub.json`); the names of files and repositories are those of smarties.md,
section 10.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from backend.manifest import download
from backend.manifest.package import Package
from backend.protocol.errors import InputError, PackageError

SCHEME = "hf:"
HUB = "https://huggingface.co"
ENDPOINT = "HF_ENDPOINT"  # the Hub client's own variable for mirrors
SUFFIX = ".safetensors"
PRETRAINED = "pretrained"
LONGEST_NAME = 64  # of a package, as in schema.json
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")  # of an owner, a repository, a file
_ORIGIN = re.compile(re.escape(HUB) + r"/\S+#sha256=[0-9a-f]{64}")


@dataclass(frozen=True)
class DataSetInput:
    """How a data set feeds one input.

    Attributes:
        table: its normalisation, a name of `smarties_preprocess.statistics_of`.
        unit: of the values that the model takes.
        image_px: pixels per side of its images.
        pixels_per_token: source pixels per token, the nearest whole number to `image_px` enlarged to 14 tokens.
    """

    table: str
    unit: str
    image_px: int
    pixels_per_token: int


@dataclass(frozen=True)
class DataSet:
    """What a head was trained on.

    Attributes:
        title: its name for people.
        source: publication that the class names and their order come from.
        task: "classify" or "segment".
        several: whether a scene may have several classes.
        slots: inputs by name.
        classes: value, name and colour in channel order; the colour is "" where the publication has none.
    """

    title: str
    source: str
    task: str
    several: bool
    slots: dict[str, DataSetInput]
    classes: tuple[tuple[int, str, str], ...]


@dataclass(frozen=True)
class HubFile:
    """One file that a source names.

    Attributes:
        repository: OWNER/NAME.
        file: its name.
        digest: wanted sha256, "" for any.
        package: name of the package that it becomes.
        member: size of the encoder, such as "vit-b"; "" where only the file tells it.
        layout: a kind of `smarties_official`.
        data_set: what its head was trained on; None for the pre-trained layout.
    """

    repository: str
    file: str
    digest: str
    package: str
    member: str
    layout: str
    data_set: DataSet | None

    @property
    def address(self) -> str:
        """Where the file lies on the Hub itself, as it is recorded."""
        return f"{HUB}/{self.repository}/resolve/main/{self.file}"

    def download_address(self) -> download.Address:
        """Where it is fetched from: the Hub, or the mirror that the environment names.

        Raises:
            InputError: the environment names no http(s) address.
        """
        base = (os.environ.get(ENDPOINT) or HUB).rstrip("/")
        fragment = f"#sha256={self.digest}" if self.digest else ""
        return download.parse(f"{base}/{self.repository}/resolve/main/{self.file}{fragment}")

    def packages(self) -> tuple[str, ...]:
        """Names of the packages that it becomes; the one to work with comes last.

        A head comes with the encoder that its file holds. The multi-modal probe looks at two streams of mixed tokens,
        which are no features of the encoder, so that it is one package with both.
        """
        if self.layout in (PRETRAINED, "multimodal-probe"):
            return (self.package,)
        return (f"{self.package}-encoder", self.package)


def is_hub(source: str) -> bool:
    """Whether a source names a file on the Hub."""
    return source.startswith(SCHEME)


def parse(source: str) -> HubFile:
    """Read `hf:OWNER/NAME` or `hf:OWNER/NAME/FILE`, either with `#sha256=HEX` behind it.

    Raises:
        InputError: it has another form, or leaves open which file is meant.
        PackageError: files of this kind are not read.
    """
    path, mark, fragment = source.removeprefix(SCHEME).partition("#")
    parts = path.split("/")
    if len(parts) not in (2, 3) or not all(_PART.fullmatch(part) for part in parts):
        raise InputError(f'"{source[:120]}" is not understood', "", "write hf:OWNER/NAME or hf:OWNER/NAME/FILE")
    digest = download.parse(f"{HUB}/#{fragment}").digest if mark else ""
    repository = "/".join(parts[:2])
    known = _known(repository)
    if len(parts) == 3:
        file = parts[2]
    elif len(known) == 1:
        file = next(iter(known))
    else:
        why = f"it has {', '.join(known)}" if known else "the repository is not a known one"
        example = next(iter(known), f"FILE{SUFFIX}")
        raise InputError(f"{source} does not say which file", why, f"write it behind, as in hf:{repository}/{example}")
    if not file.endswith(SUFFIX):
        raise PackageError(
            f"{file} cannot be installed",
            "only safetensors files are read, for other files of weights can carry code",
            f"name a {SUFFIX} file",
        )
    return _described(repository, file, digest, known)


def origin(package: Package) -> str:
    """Address and sha256 of the file that a package was made of, as `ADDRESS#sha256=HEX`; "" for any other package."""
    found = _ORIGIN.search(package.attribution)
    return found[0] if found else ""


def _described(repository: str, file: str, digest: str, known: dict[str, Any]) -> HubFile:
    if file in known:
        entry = known[file]
        data_set = _data_sets()[entry["data_set"]] if entry["data_set"] else None
        return HubFile(repository, file, digest, entry["package"], entry["member"], entry["layout"], data_set)
    if known:
        raise InputError(f"{repository} has no file {file} that is known", f"it has {', '.join(known)}", "name one")
    words = re.sub(r"[^a-z0-9]+", "-", f"{repository} {file.removesuffix(SUFFIX)}".lower()).strip("-")
    name = words if words[0].isalpha() else f"hub-{words}"
    return HubFile(repository, file, digest, name[:LONGEST_NAME].strip("-"), "", PRETRAINED, None)


@cache
def _table() -> Any:
    return json.loads(Path(__file__).with_name("hub.json").read_text(encoding="utf-8"))


def _known(repository: str) -> dict[str, Any]:
    """Files of a repository by name; none for an unknown one. The Hub's names do not care for case."""
    found = {name.lower(): files for name, files in _table()["repositories"].items()}
    files: dict[str, Any] = found.get(repository.lower(), {})
    return files


@cache
def _data_sets() -> dict[str, DataSet]:
    return {name: _data_set(**value) for name, value in _table()["data_sets"].items()}


def _data_set(slots: dict[str, Any], nomenclature: str, **values: Any) -> DataSet:
    named = _table()["nomenclatures"][nomenclature]
    return DataSet(
        source=named["source"],
        slots={name: DataSetInput(**slot) for name, slot in slots.items()},
        classes=tuple(
            (number, entry, "") if isinstance(entry, str) else tuple(entry)
            for number, entry in enumerate(named["classes"], start=1)
        ),
        **values,
    )
