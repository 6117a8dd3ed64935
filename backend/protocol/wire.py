"""Messages as lines of JSON, checked strictly against the dataclasses' annotations. Standard library only."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Iterator
from typing import IO, Any, Union

from .errors import ProtocolError
from .messages import Event, Request

# Longest line in bytes, newline not counted. Messages name files and never hold pixels: anything longer is a mistake.
MAX_LINE = 64_000_000
_SKIP = 1 << 20
_UNIONS = (Union, getattr(types, "UnionType", Union))  # the second one from Python 3.10 on
_NAMES = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    tuple: "a list",
    type(None): "null",
}


def encode(message: Union[Request, Event]) -> bytes:
    """One line of JSON with its newline.

    Raises:
        ProtocolError: when a field holds something else than its annotation says, a number that is not finite, or too
            much.
    """
    try:
        value = to_json(message)
        from_json(type(message), value)
    except RecursionError as error:
        raise ProtocolError("the message cannot be sent", "it is nested too deeply") from error
    # ASCII only: file names that are not valid Unicode (Linux allows them) then survive as lone surrogates.
    line = json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")
    if len(line) > MAX_LINE:
        raise _too_long(MAX_LINE)
    return line + b"\n"


def decode_request(line: bytes) -> Request:
    """The request in a line; raises `ProtocolError` naming the field that is wrong."""
    return request_from(parse(line))


def decode_event(line: bytes) -> Event:
    """The event in a line; raises `ProtocolError` naming the field that is wrong."""
    try:
        return typing.cast(Event, from_json(Event, parse(line)))
    except RecursionError as error:
        raise ProtocolError("the message is not understood", "it is nested too deeply") from error


def request_from(value: Any) -> Request:
    """The request in a parsed line; raises `ProtocolError` naming the field that is wrong."""
    request = typing.cast(Request, from_json(Request, value))
    if not request.id:
        raise ProtocolError("the message is not understood", '"id" is empty')
    return request


def parse(line: bytes) -> Any:
    """The JSON value in a line of UTF-8.

    Raises:
        ProtocolError: for anything that is not JSON, for NaN and infinity, for a key that appears twice.
    """
    if len(line.rstrip(b"\r\n")) > MAX_LINE:
        raise _too_long(MAX_LINE)
    try:
        return json.loads(
            line.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique_keys
        )
    except UnicodeDecodeError as error:
        raise ProtocolError("the message is not understood", f"it is not UTF-8: byte {error.start} is wrong") from error
    except RecursionError as error:
        raise ProtocolError("the message is not understood", "it is nested too deeply") from error
    except ValueError as error:
        raise ProtocolError("the message is not understood", f"it is not JSON: {error}") from error


def read_lines(stream: IO[bytes], limit: int = MAX_LINE) -> Iterator[Union[bytes, ProtocolError]]:
    """The lines of a buffered stream until it ends; an overlong one is skipped and an error stands in its place."""
    while True:
        line = stream.readline(limit + 1)
        if not line:
            return
        if len(line) <= limit or line.endswith(b"\n"):
            if line.strip():
                yield line
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(_SKIP)
        yield _too_long(limit)


def to_json(value: Any, where: str = "") -> Any:
    """A dataclass, or whatever is inside one, as JSON values; tagged with `kind` where its class has one.

    Raises:
        ProtocolError: for what JSON cannot hold.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        tag = {"kind": value.kind} if hasattr(value, "kind") else {}
        fields = {f.name: to_json(getattr(value, f.name), _inside(where, f.name)) for f in dataclasses.fields(value)}
        return {**tag, **fields}
    if isinstance(value, (tuple, list)):
        return [to_json(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise _unfit(where, "an object with texts as keys", value)
        return {key: to_json(item, _inside(where, key)) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        raise _unfit(where, "a finite number", value)
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise _unfit(where, "something that JSON can hold", value)


def from_json(annotation: Any, value: Any, where: str = "") -> Any:
    """The value of an annotated type that `to_json` wrote; a key may be left out where the field has a default.

    Args:
        annotation: str, int, float, bool, Any, a dataclass, or tuple, dict[str, ...], Optional, Union of them.
        value: what `json.loads` gave.
        where: the field's name, for messages.

    Raises:
        ProtocolError: naming the field that is wrong.
    """
    origin = typing.get_origin(annotation)
    if annotation is Any:
        return to_json(value, where)
    if origin in _UNIONS:
        return _union(annotation, value, where)
    if origin is tuple:
        return _tuple(annotation, value, where)
    if origin is dict:
        _expect(dict, value, where)
        item_type = typing.get_args(annotation)[1]
        return {key: from_json(item_type, item, _inside(where, key)) for key, item in value.items()}
    if dataclasses.is_dataclass(annotation):
        return _dataclass(typing.cast(type, annotation), value, where)
    return _scalar(annotation, value, where)


def _scalar(annotation: Any, value: Any, where: str) -> Any:
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise _unfit(where, "a finite number", value) from error
    _expect(annotation, value, where)
    if annotation is float and not math.isfinite(value):
        raise _unfit(where, "a finite number", value)
    return value


def _tuple(annotation: Any, value: Any, where: str) -> tuple[Any, ...]:
    _expect(list, value, where)
    items = typing.get_args(annotation)
    if len(items) == 2 and items[1] is Ellipsis:
        items = (items[0],) * len(value)
    if len(items) != len(value):
        raise ProtocolError(
            "the message is not understood", f'"{where}" should hold {len(items)} values but holds {len(value)}'
        )
    return tuple(from_json(items[index], item, f"{where}[{index}]") for index, item in enumerate(value))


def _union(annotation: Any, value: Any, where: str) -> Any:
    choices = [choice for choice in typing.get_args(annotation) if choice is not type(None)]
    if value is None and len(choices) < len(typing.get_args(annotation)):
        return None
    if len(choices) == 1:
        return from_json(choices[0], value, where)
    _expect(dict, value, where)
    kinds = {choice.kind: choice for choice in choices}
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        said = "is missing" if kind is None else f"is {_short(kind)}"
        raise ProtocolError(
            "the message is not understood", f'"{_inside(where, "kind")}" {said}', f"use one of {', '.join(kinds)}"
        )
    return _dataclass(kinds[kind], value, where)


def _dataclass(kind: type, value: Any, where: str) -> Any:
    _expect(dict, value, where)
    given = dict(value)
    if hasattr(kind, "kind") and given.pop("kind", None) != kind.kind:
        raise ProtocolError("the message is not understood", f'"{_inside(where, "kind")}" should be "{kind.kind}"')
    fields = _fields(kind)
    for name in given:
        if name not in fields:
            raise ProtocolError("the message is not understood", f'"{_inside(where, name)}" is not a field of it')
    for name, (_, required) in fields.items():
        if required and name not in given:
            raise ProtocolError("the message is not understood", f'"{_inside(where, name)}" is missing')
    return kind(**{name: from_json(fields[name][0], item, _inside(where, name)) for name, item in given.items()})


@functools.cache
def _fields(kind: type) -> dict[str, tuple[Any, bool]]:
    """Annotation of each field and whether it must be given."""
    hints = typing.get_type_hints(kind)
    missing = dataclasses.MISSING
    return {
        f.name: (hints[f.name], f.default is missing and f.default_factory is missing) for f in dataclasses.fields(kind)
    }


def _expect(kind: type, value: Any, where: str) -> None:
    # bool is a subclass of int, but true is not a number here.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _unfit(where, _NAMES[kind], value)


def _unfit(where: str, expected: str, value: Any) -> ProtocolError:
    got = f"{_NAMES.get(type(value), f'of type {type(value).__name__}')} ({_short(value)})"
    return ProtocolError("the message is not understood", f'"{where or "message"}" should be {expected} but is {got}')


def _short(value: Any) -> str:
    text = repr(value[:60] if isinstance(value, (str, list)) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def _inside(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _too_long(limit: int) -> ProtocolError:
    return ProtocolError(
        "the message is too long", f"a line may have at most {limit} bytes", "pass file names, not their content"
    )


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large a number")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key appears twice in one object")
    return value
