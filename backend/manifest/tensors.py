"""Safetensors files: a strict look at the header before anything is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.manifest import files
from backend.protocol.errors import PackageError

LARGEST_HEADER = 16 << 20
MOST_TENSORS = 100_000
MOST_AXES = 8
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U8": "<u1",
    "BOOL": "?",
}


@dataclass(frozen=True)
class TensorInfo:
    """Type ("F32" …), shape and the half-open byte range of a tensor within the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Tensors of a safetensors file by name.

    Raises:
        PackageError: when the header is not exactly one, or its tensors do not fill the file without gap or overlap.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(LARGEST_HEADER, size - 8):
                raise PackageError(
                    f"{path.name} is not a safetensors file", f"its header would have {length} of {size} bytes"
                )
            header = files.parse_json(file.read(length), f"the header of {path.name}")
    except OSError as error:
        raise PackageError(f"{path.name} cannot be read", error.strerror or str(error)) from error
    if not isinstance(header, dict) or len(header) > MOST_TENSORS:
        raise PackageError(
            f"{path.name} is not a safetensors file", "its header is no list of tensors, or too long a one"
        )
    _check_metadata(header.pop("__metadata__", {}), path.name)
    start = 8 + length
    tensors = {
        name: _tensor(value, f'the tensor "{name[:80]}" of {path.name}', start) for name, value in header.items()
    }
    _check_ranges(tensors, start, size, path.name)
    return tensors


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors of a small file as numpy arrays (bfloat16 is refused)."""
    infos = read_header(path)
    content = bytearray(path.read_bytes())  # arrays on it can be written to, as torch wants them
    arrays = {}
    for name, info in infos.items():
        if info.dtype not in _NUMPY:
            raise PackageError(
                f'the tensor "{name[:80]}" of {path.name} has the type {info.dtype}', "numpy cannot read it"
            )
        arrays[name] = np.frombuffer(content[info.begin : info.end], dtype=_NUMPY[info.dtype]).reshape(info.shape)
    return arrays


def _check_metadata(value: Any, name: str) -> None:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise PackageError(f"{name} is not a safetensors file", "its metadata is not text")


def _tensor(value: Any, what: str, start: int) -> TensorInfo:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise PackageError(f"{what} is malformed", "it needs dtype, shape and data_offsets, nothing else")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in SIZES:
        raise PackageError(f"{what} has the type {str(dtype)[:20]}", f"known are {', '.join(SIZES)}")
    if not _whole(shape) or len(shape) > MOST_AXES:
        raise PackageError(f"{what} has an unusable shape", str(shape)[:80])
    if not _whole(offsets) or len(offsets) != 2 or offsets[1] - offsets[0] != math.prod(shape) * SIZES[dtype]:
        raise PackageError(
            f"{what} does not fit its place in the file", f"shape {str(shape)[:60]}, offsets {str(offsets)[:60]}"
        )
    return TensorInfo(dtype, tuple(shape), start + offsets[0], start + offsets[1])


def _whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_ranges(tensors: dict[str, TensorInfo], start: int, size: int, name: str) -> None:
    position = start
    for info in sorted(tensors.values(), key=lambda info: (info.begin, info.end)):
        if info.begin != position:
            raise PackageError(f"{name} is damaged", "its tensors overlap or leave gaps")
        position = info.end
    if position != size:
        raise PackageError(f"{name} is damaged", f"its tensors end at byte {position} of {size}")
