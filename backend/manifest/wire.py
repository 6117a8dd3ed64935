"""The wire format of protocol buffers: enough to look into a file without a schema, and to write a small one."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """The bytes are no protocol buffer message."""


def fields(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Field number, wire type and value (a number for VARINT, else a view of the bytes) of each field in turn.

    Raises:
        WireError: when the message is truncated or uses groups.
    """
    position, end = 0, len(message)
    while position < end:
        key, position = _varint(message, position, end)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise WireError("field number 0")
        if kind == VARINT:
            value, position = _varint(message, position, end)
            yield number, kind, value
            continue
        if kind == BYTES:
            length, position = _varint(message, position, end)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise WireError(f"wire type {kind}")
        if position + length > end:
            raise WireError("a field reaches over the end")
        yield number, kind, message[position : position + length]
        position += length


def varints(packed: memoryview) -> Iterator[int]:
    """Numbers of a packed field."""
    position = 0
    while position < len(packed):
        value, position = _varint(packed, position, len(packed))
        yield value


def signed(value: int) -> int:
    """A varint as int64."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _varint(message: memoryview, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise WireError("a number is cut off")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & ((1 << 64) - 1), position
    raise WireError("a number is too long")


def number(field: int, value: int) -> bytes:
    """A field that holds a number, 0 or more."""
    return _written(field << 3 | VARINT) + _written(value)


def message(field: int, content: bytes) -> bytes:
    """A field that holds bytes, such as another message."""
    return _written(field << 3 | BYTES) + _written(len(content)) + content


def text(field: int, value: str) -> bytes:
    """A field that holds text."""
    return message(field, value.encode())


def _written(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
