"""A strict look into an ONNX file without the onnx package: what it asks for, and what it may not.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from backend.manifest import wire
from backend.protocol.errors import PackageError

# Oldest and newest operator set: 13 gave the axes of Squeeze and ReduceSum as inputs, 21 is what onnxruntime 1.20 runs.
DOMAINS = {"": (13, 21), "ai.onnx": (13, 21), "ai.onnx.ml": (1, 5), "com.microsoft": (1, 1)}
REFUSED = {
    "Loop": "it repeats without bound",
    "Scan": "it repeats without bound",
    "SequenceMap": "it repeats without bound",
}
MOST_NODES = 200_000
DEEPEST = 4  # graphs inside graphs, as in the branches of If
FLOAT32 = 1
# Bits of one element by TensorProto.DataType; strings and complex numbers have no place in an image model.
BITS = {
    1: 32,
    2: 8,
    3: 8,
    4: 16,
    5: 16,
    6: 32,
    7: 64,
    9: 8,
    10: 16,
    11: 64,
    12: 32,
    13: 64,
    16: 16,
    17: 8,
    18: 8,
    19: 8,
    20: 8,
    21: 4,
    22: 4,
    23: 4,
}

Shape = tuple[int | None, ...]  # None: any size


@dataclass(frozen=True)
class External:
    """Bytes of a tensor in another file."""

    location: str
    offset: int
    length: int


@dataclass
class Graph:
    """What was found: element type and shape of each input and output, data in other files, operators."""

    inputs: dict[str, tuple[int, Shape]] = field(default_factory=dict)
    outputs: dict[str, tuple[int, Shape]] = field(default_factory=dict)
    external: list[External] = field(default_factory=list)
    operators: set[str] = field(default_factory=set)
    opsets: dict[str, int] = field(default_factory=dict)
    initializers: set[str] = field(default_factory=set)
    nodes: int = 0


def read_graph(path: Path) -> Graph:
    """What an ONNX file holds.

    Raises:
        PackageError: when it is no ONNX model, uses operators outside the allowed sets, functions of its own, loops, or
            tensors that do not fit their data.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _try_model(content, path.name)
    except ValueError as error:
        raise PackageError(f"{path.name} is not an ONNX file", "it is empty") from error
    except OSError as error:
        raise PackageError(f"{path.name} cannot be read", error.strerror or str(error)) from error
    if isinstance(found, PackageError):
        raise found
    return found


def _try_model(content: mmap.mmap, name: str) -> Graph | PackageError:
    """The graph, or the error to raise once the file is closed: a traceback would keep views of it alive."""
    try:
        return _read_model(memoryview(content), name)
    except wire.WireError as error:
        return PackageError(f"{name} is not an ONNX file", str(error))
    except PackageError as error:
        return error.with_traceback(None)


def check_external(graph: Graph, sizes: dict[str, int], name: str) -> None:
    """Raise PackageError unless all outside data lies in `.data` files of the package, within their size."""
    for item in graph.external:
        if item.location not in sizes or not item.location.endswith(".data"):
            raise PackageError(
                f"{name} takes weights from {json.dumps(item.location)[:120]}",
                "only .data files listed in the package itself are read",
            )
        if item.offset + item.length > sizes[item.location]:
            raise PackageError(f"{name} takes weights from beyond the end of {item.location}")


def _read_model(model: memoryview, name: str) -> Graph:
    graph, bodies = Graph(), []
    for number, kind, value in wire.fields(model):
        if not isinstance(value, memoryview) or kind != wire.BYTES:
            continue
        if number == 7:
            bodies.append(value)
        elif number == 8:
            _read_opset(value, graph, name)
        elif number == 20:
            raise PackageError(f"{name} carries training information", "only graphs for inference are accepted")
        elif number == 25:
            raise PackageError(
                f"{name} defines functions of its own", "", "export the model with its functions inlined"
            )
    if len(bodies) != 1 or not graph.opsets:
        raise PackageError(
            f"{name} is not an ONNX file",
            "it holds no graph" if not bodies else "it has several graphs or no operator set",
        )
    _read_graph(bodies[0], graph, name, 0)
    for initializer in graph.initializers:
        graph.inputs.pop(initializer, None)
    return graph


def _read_opset(message: memoryview, graph: Graph, name: str) -> None:
    domain, version = "", 0
    for number, _, value in wire.fields(message):
        if number == 1 and isinstance(value, memoryview):
            domain = _text(value)
        elif number == 2 and isinstance(value, int):
            version = value
    _check_domain(domain, name)
    oldest, newest = DOMAINS[domain]
    if not oldest <= version <= newest:
        raise PackageError(
            f'{name} uses operator set {version} of "{domain or "ai.onnx"}"', f"{oldest} to {newest} can be run"
        )
    graph.opsets[domain] = version


def _check_domain(domain: str, name: str) -> None:
    if domain not in DOMAINS:
        raise PackageError(
            f"{name} uses operators of {json.dumps(domain)[:80]}",
            f"only {', '.join(d or 'ai.onnx' for d in DOMAINS if d != 'ai.onnx')} are accepted",
        )


def _read_graph(message: memoryview, graph: Graph, name: str, depth: int) -> None:
    if depth > DEEPEST:
        raise PackageError(f"{name} nests graphs too deeply", f"more than {DEEPEST} levels")
    for number, value in _messages(message):
        if number == 1:
            _read_node(value, graph, name, depth)
        elif number == 5:
            graph.initializers.add(_read_tensor(value, graph, name))
        elif number == 15:
            _read_sparse(value, graph, name)
        elif number in (11, 12) and depth == 0:
            label, kind, shape = _read_value(value)
            (graph.inputs if number == 11 else graph.outputs)[label] = (kind, shape)


def _read_node(message: memoryview, graph: Graph, name: str, depth: int) -> None:
    graph.nodes += 1
    if graph.nodes > MOST_NODES:
        raise PackageError(f"{name} has too many nodes", f"more than {MOST_NODES}")
    operator = domain = ""
    for number, value in _messages(message):
        if number == 4:
            operator = _text(value)
        elif number == 7:
            domain = _text(value)
        elif number == 5:
            _read_attribute(value, graph, name, depth)
    _check_domain(domain, name)
    if operator in REFUSED:
        raise PackageError(f"{name} uses the operator {operator}", REFUSED[operator])
    graph.operators.add(operator)


def _read_attribute(message: memoryview, graph: Graph, name: str, depth: int) -> None:
    for number, value in _messages(message):
        if number in (5, 10):
            _read_tensor(value, graph, name)
        elif number in (6, 11):
            _read_graph(value, graph, name, depth + 1)
        elif number in (22, 23):
            _read_sparse(value, graph, name)


def _read_sparse(message: memoryview, graph: Graph, name: str) -> None:
    for number, value in _messages(message):
        if number in (1, 2):
            _read_tensor(value, graph, name)


def _read_tensor(message: memoryview, graph: Graph, name: str) -> str:
    """Check one tensor; returns its name."""
    dims: list[int] = []
    kind, label, raw, outside, entries = 0, "", None, False, {}
    for number, how, value in wire.fields(message):
        if number == 1:
            dims += [value] if isinstance(value, int) else list(wire.varints(value))
        elif number == 2 and isinstance(value, int):
            kind = value
        elif number == 14 and isinstance(value, int):
            outside = value == 1
        elif not isinstance(value, memoryview) or how != wire.BYTES:
            continue
        elif number == 8:
            label = _text(value)
        elif number == 9:
            raw = len(value)
        elif number == 13:
            key, text = _read_entry(value)
            entries[key] = text
    size = _tensor_bytes(dims, kind, label, name)
    if outside or entries:
        graph.external.append(_external(entries, size, label, name))
    elif raw is not None and raw != size:
        raise PackageError(
            f'the tensor "{label[:80]}" of {name} does not fit its data', f"{raw} bytes instead of {size}"
        )
    return label


def _tensor_bytes(dims: list[int], kind: int, label: str, name: str) -> int:
    sizes = [wire.signed(value) for value in dims]
    if kind not in BITS:
        raise PackageError(
            f'the tensor "{label[:80]}" of {name} has the type number {kind}', "only numbers are accepted"
        )
    if any(value < 0 for value in sizes) or math.prod(sizes) > 1 << 40:
        raise PackageError(f'the tensor "{label[:80]}" of {name} has an unusable shape', str(sizes)[:80])
    return (math.prod(sizes) * BITS[kind] + 7) // 8


def _external(entries: dict[str, str], size: int, label: str, name: str) -> External:
    numbers = {}
    for key, default in (("offset", 0), ("length", size)):
        text = entries.get(key, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 16):
            raise PackageError(f'the tensor "{label[:80]}" of {name} has an unusable {key}', text[:40])
        numbers[key] = int(text)
    if numbers["length"] != size:
        raise PackageError(
            f'the tensor "{label[:80]}" of {name} does not fit its data', f"{numbers['length']} bytes instead of {size}"
        )
    return External(entries.get("location", ""), numbers["offset"], numbers["length"])


def _read_entry(message: memoryview) -> tuple[str, str]:
    parts = {number: _text(value) for number, value in _messages(message)}
    return parts.get(1, ""), parts.get(2, "")


def _read_value(message: memoryview) -> tuple[str, int, Shape]:
    """Name, element type and shape of an input or output; the type is 0 for anything but a tensor."""
    label, kind, shape = "", 0, []
    for number, value in _messages(message):
        if number == 1:
            label = _text(value)
        elif number == 2:
            for tensor in (inner for index, inner in _messages(value) if index == 1):
                for index, _, part in wire.fields(tensor):
                    if index == 1 and isinstance(part, int):
                        kind = part
                    elif index == 2 and isinstance(part, memoryview):
                        shape = [_dimension(inner) for each, inner in _messages(part) if each == 1]
    return label, kind, tuple(shape)


def _dimension(message: memoryview) -> int | None:
    for number, _, value in wire.fields(message):
        if number == 1 and isinstance(value, int):
            return wire.signed(value)
    return None


def _messages(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Fields that hold bytes."""
    for number, kind, value in wire.fields(message):
        if kind == wire.BYTES and isinstance(value, memoryview):
            yield number, value


def _text(value: memoryview) -> str:
    return bytes(value).decode("utf-8", errors="replace")
