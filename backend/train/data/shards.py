"""Samples on disk: tar files in WebDataset's layout, each with an index beside it that finds a sample at once.

A sample KEY is the members `KEY.json` (place, sensors, bands, dates, labels, class names), `KEY.MODALITY.npy` (pixels
as they came, T x C x H x W), `KEY.MODALITY.valid.npy` (validity, packed to bits) and, where map classes are known,
`KEY.classes.npy` (packed to bits). The index `shard-00000.json` holds position and size of every member and the sha256
of the tar file. Both are written beside and renamed; arrays are read without pickle. `shards.json` says how many
shards and samples there are and is written last: a set that lacks it, or a shard, is not complete.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from backend.geo.writer import write_atomically
from backend.protocol.errors import InputError, OutputError, ParameterError
from backend.train.data.sample import Place, Sample, Series

KEY = re.compile(r"[A-Za-z0-9_-]{1,120}")  # a dot would end the key in WebDataset's layout
VALID, CLASSES, DESCRIPTION = "valid.npy", "classes.npy", "json"
COMPLETE = "shards.json"


def write_shards(samples: Iterable[Sample], folder: Path, per_shard: int = 256) -> list[Path]:
    """Write samples into `folder`/shard-00000.tar, …; returns the tar files.

    Raises:
        ParameterError: the folder holds shards already, or a sample's key is not usable or not unique.
        OutputError: they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if list(folder.glob("shard-*")):
        raise ParameterError(f"{folder} holds shards already", "", "name an empty folder")
    rest, keys = iter(samples), set[str]()
    written: list[Path] = []
    while block := list(islice(rest, per_shard)):
        for sample in block:
            if not KEY.fullmatch(sample.key) or sample.key in keys:
                raise ParameterError(
                    f'"{sample.key}" is no usable key', "it must be unique, of letters, digits, - and _"
                )
            keys.add(sample.key)
        written.append(_write(block, folder / f"shard-{len(written):05d}.tar"))
    if written:
        write_atomically(folder / COMPLETE, json.dumps({"shards": len(written), "samples": len(keys)}).encode())
    return written


class ShardSet:
    """The samples of a folder of shards, in the order in which they were written.

    Args:
        folder: holds tar files with their indexes.

    Raises:
        InputError: there is none, the set is not complete, or a tar file is not the one that its index describes.
    """

    def __init__(self, folder: Path) -> None:
        self._members: list[tuple[Path, str, dict[str, tuple[int, int]]]] = []
        found = sorted(folder.glob("shard-*.tar"))
        for path in found:
            index = _read_index(path)
            self._members += [(path, key, members) for key, members in index.items()]
        if not self._members:
            raise InputError(f"{folder} holds no shards", "", "write some: python -m backend.train shards --help")
        _check_complete(folder, len(found), len(self._members))

    def __len__(self) -> int:
        return len(self._members)

    def keys(self) -> list[str]:
        """Keys of all samples."""
        return [key for _, key, _ in self._members]

    def __getitem__(self, number: int) -> Sample:
        path, key, members = self._members[number]
        parts = {}
        with path.open("rb") as file:
            for name, (begin, size) in members.items():
                file.seek(begin)
                parts[name] = file.read(size)
        return _sample_of(key, parts)


def _write(samples: list[Sample], path: Path) -> Path:
    """A shard and its index, under their names only when both are complete."""
    part = path.with_suffix(".tar.part")
    index: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
            for sample in samples:
                places = index.setdefault(sample.key, {})
                for name, content in _parts_of(sample):
                    info = tarfile.TarInfo(f"{sample.key}.{name}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
                    places[name] = (tar.offset - _padded(len(content)), len(content))
        document = {"sha256": _digest(part), "bytes": part.stat().st_size, "samples": index}
        draft = path.with_suffix(".json.part")
        draft.write_text(json.dumps(document), encoding="utf-8")
        draft.replace(path.with_suffix(".json"))
        part.replace(path)
    except OSError as error:
        for left in (part, path.with_suffix(".json.part")):
            left.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written", error.strerror or str(error)) from error
    return path


def _padded(size: int) -> int:
    """Bytes that a member's content takes in a tar file."""
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _parts_of(sample: Sample) -> Iterator[tuple[str, bytes]]:
    described: dict[str, Any] = {
        "place": asdict(sample.place), "class_names": sample.class_names, "labels": dict(sample.labels), "series": {},
    }  # fmt: skip
    for name, series in sample.series.items():
        described["series"][name] = {"sensor": series.sensor, "bands": series.bands, "days": series.days}
        yield f"{name}.npy", _array(series.pixels)
        yield f"{name}.{VALID}", _array(_packed(series.valid))
    if sample.classes is not None:
        described["classes"] = sample.classes.shape
        yield CLASSES, _array(_packed(sample.classes))
    yield DESCRIPTION, json.dumps(described).encode()


def _sample_of(key: str, parts: dict[str, bytes]) -> Sample:
    try:
        told = json.loads(parts[DESCRIPTION])
        series = {}
        for name, one in told["series"].items():
            pixels = _loaded(parts[f"{name}.npy"])
            valid = _unpacked(_loaded(parts[f"{name}.{VALID}"]), (pixels.shape[0], *pixels.shape[2:]))
            series[name] = Series(one["sensor"], tuple(one["bands"]), pixels, valid, tuple(one["days"]))
        shape = told.get("classes")
        classes = None if shape is None else _unpacked(_loaded(parts[CLASSES]), tuple(shape))
        place = Place(told["place"]["crs"], tuple(told["place"]["bounds"]))
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f'the sample "{key}" cannot be read', str(error)[:200], "write the shards again") from error
    return Sample(key, place, series, classes, tuple(told["class_names"]), told["labels"])


def _check_complete(folder: Path, shards: int, samples: int) -> None:
    try:
        told = json.loads((folder / COMPLETE).read_text("utf-8"))
        wanted = (told["shards"], told["samples"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"the shards in {folder} are not complete", str(error)[:200], "write them again") from error
    if wanted != (shards, samples):
        raise InputError(
            f"the shards in {folder} are not complete",
            f"there are {shards} with {samples} samples instead of {wanted[0]} with {wanted[1]}",
            "copy them again",
        )


def _read_index(path: Path) -> dict[str, dict[str, tuple[int, int]]]:
    beside = path.with_suffix(".json")
    try:
        document = json.loads(beside.read_text("utf-8"))
        found = {
            key: {name: (int(begin), int(size)) for name, (begin, size) in members.items()}
            for key, members in document["samples"].items()
        }
        whole = int(document["bytes"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the index {beside} cannot be read", str(error)[:200], "write the shards again") from error
    if path.stat().st_size != whole:
        raise InputError(f"{path} is not the file that its index describes", "its size differs", "copy it again")
    if any(
        begin < 0 or size < 0 or begin + size > whole for members in found.values() for begin, size in members.values()
    ):
        raise InputError(f"the index {beside} points outside its file", "", "write the shards again")
    return found


def check_digest(path: Path) -> bool:
    """Whether a shard is bit by bit what was written; reads all of it."""
    document = json.loads(path.with_suffix(".json").read_text("utf-8"))
    return bool(_digest(path) == document["sha256"])


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


def _array(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, np.ascontiguousarray(values), allow_pickle=False)
    return content.getvalue()


def _loaded(content: bytes) -> np.ndarray:
    found: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    return found


def _packed(values: np.ndarray) -> np.ndarray:
    return np.packbits(np.asarray(values, bool).ravel())


def _unpacked(bits: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    count = int(np.prod(shape))
    if bits.dtype != np.uint8 or len(bits) != -(-count // 8):
        raise ValueError(f"{len(bits)} bytes do not hold {count} bits")
    return np.unpackbits(bits, count=count).astype(bool).reshape(shape)
