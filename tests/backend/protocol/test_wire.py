"""Strictness of the wire: what is refused, and that the refusal names the field."""

from __future__ import annotations

import io
import json
import math
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.protocol import messages, wire
from backend.protocol.errors import ProtocolError
from backend.protocol.jobs import AreaSpec, ComputeSpec, GridSpec, InputSpec, MaskSpec, SegmentJob

SEGMENT: dict[str, Any] = {
    "kind": "segment",
    "inputs": [{"modality": "ms", "paths": ["a.tif"]}],
    "models": ["m"],
    "output": "o.tif",
}


def request(**changes: Any) -> bytes:
    return json.dumps({"id": "1", "body": {**SEGMENT, **changes}}).encode()


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (request(inputs=[{"modality": "ms", "paths": ["a.tif", 3]}]), "body.inputs[0].paths[1]"),
        (request(inputs=[{"modality": "ms", "paths": "a.tif"}]), "body.inputs[0].paths"),
        (request(inputs=[{"modality": "ms"}]), "body.inputs[0].paths"),
        (request(inputs=[{"modality": "ms", "paths": [], "colour": 1}]), "body.inputs[0].colour"),
        (request(area={"extent": [0, 1, 2]}), "body.area.extent"),
        (request(area=None), "body.area"),
        (request(compute={"memory": 1.5}), "body.compute.memory"),
        (request(compute={"memory": True}), "body.compute.memory"),
        (request(min_area="400"), "body.min_area"),
        (request(min_area=10**400), "body.min_area"),
        (request(mask=[]), "body.mask"),
        (request(output=None), "body.output"),
        (request(kind="paint"), "body.kind"),
        (request(kind=7), "body.kind"),
        (b'{"id":"1","body":{"job":"2"}}', "body.kind"),
        (b'{"id":"1","body":[]}', "body"),
        (b'{"id":1,"body":{"kind":"status"}}', "id"),
        (b'{"id":"","body":{"kind":"status"}}', "id"),
        (b'{"body":{"kind":"status"}}', "id"),
        (b'{"id":"1","body":{"kind":"status"},"extra":1}', "extra"),
        (b'{"id":"1","body":{"kind":"plan","job":{"kind":"remove","name":"m"}}}', "body.job.kind"),
        (b"[]", "message"),
        (b"null", "message"),
    ],
)
def test_a_wrong_field_is_named(line: bytes, named: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        wire.decode_request(line)
    assert f'"{named}"' in caught.value.why


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b'{"id":',
        b'{"id":"1"} {}',
        b"\xff\xfe",
        b'{"a":"\xe9"}',
        b'{"a":1,"a":2}',
        b"[" * 100_000,
        b"1" * 5000,
        request(min_area=math.nan),
        request(min_area=math.inf),
        request().replace(b'"o.tif"', b'"o.tif","min_area":1e999'),
    ],
    ids=range(12),
)
def test_what_is_not_json_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire.decode_request(line)


@pytest.mark.parametrize(
    "body",
    [
        messages.Reply({"iou": math.nan}),
        messages.Reply({"size": -math.inf}),
        messages.Reply({"image": b"pixels"}),
        messages.Reply({1: "one"}),  # type: ignore[dict-item]
        messages.Progress("computing", 0.5, "3", 4),  # type: ignore[arg-type]
        messages.ChunkWritten("classes", "a.vrt", (1, 2, 3)),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_is_not_sent(body: messages.EventBody) -> None:
    with pytest.raises(ProtocolError):
        wire.encode(messages.Event("1", "2", body))


def test_endless_nesting_is_not_sent() -> None:
    nested: dict[str, Any] = {}
    nested["again"] = nested
    with pytest.raises(ProtocolError, match="nested"):
        wire.encode(messages.Event("1", "2", messages.Reply(nested)))


def test_long_lines() -> None:
    long = messages.Request("1", messages.Inspect(("x" * 20_000_000,)))
    assert wire.decode_request(wire.encode(long)) == long
    with pytest.raises(ProtocolError, match="too long"):
        wire.encode(messages.Request("1", messages.Inspect(("x" * (wire.MAX_LINE + 1),))))


def test_an_overlong_line_is_skipped_and_the_next_is_read() -> None:
    first, *rest = wire.read_lines(
        io.BufferedReader(io.BytesIO(b"a" * 10 + b"\n" + b"b" * 5_000_000 + b"\n\n  \nok\nlast")), 10
    )  # type: ignore[arg-type]
    assert first == b"a" * 10 + b"\n"
    assert isinstance(rest[0], ProtocolError)
    assert rest[1:] == [b"ok\n", b"last"]


def test_a_file_name_that_is_not_unicode_survives() -> None:
    sent = messages.Request("1", messages.Inspect((b"caf\xe9.tif".decode("utf-8", "surrogateescape"),)))
    assert wire.decode_request(wire.encode(sent)) == sent


def test_utf8_is_read() -> None:
    line = '{"id":"1","body":{"kind":"inspect","paths":["Görlitz/水.tif"]}}'.encode()
    assert wire.decode_request(line).body == messages.Inspect(("Görlitz/水.tif",))


@dataclass(frozen=True)
class Nested:
    counts: dict[str, int]
    pair: tuple[float, str] | None = None


def test_any_annotated_dataclass_can_be_kept_as_json() -> None:
    value = Nested({"a": 1}, (1.5, "b"))
    assert wire.from_json(Nested, json.loads(json.dumps(wire.to_json(value)))) == value


texts = st.text(max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
inputs = st.builds(
    InputSpec,
    texts,
    st.lists(texts, max_size=3).map(tuple),
    st.none() | texts,
    st.none() | texts,
    st.none() | st.lists(texts, max_size=3).map(tuple),
    st.none() | texts,
    st.none() | numbers,
    st.none() | numbers,
    st.none() | numbers,
    texts,
)
segments = st.builds(
    SegmentJob,
    st.lists(inputs, max_size=3).map(tuple),
    st.lists(texts, max_size=2).map(tuple),
    texts,
    st.none() | texts,
    area=st.builds(
        AreaSpec, st.none() | texts, st.none() | st.tuples(numbers, numbers, numbers, numbers), st.none() | texts
    ),
    mask=st.none() | st.builds(MaskSpec, texts, st.lists(st.integers(), max_size=3).map(tuple)),
    grid=st.builds(GridSpec, texts, st.none() | texts, st.none() | numbers),
    compute=st.builds(ComputeSpec, texts, memory=st.integers(0, 10**18)),
    min_area=numbers,
    overlap=st.none() | numbers,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(segments | st.builds(messages.Plan, segments), st.text(min_size=1))
def test_any_request_comes_back_as_it_was(body: messages.RequestBody, name: str) -> None:
    sent = messages.Request(name, body)
    line = wire.encode(sent)
    assert line.count(b"\n") == 1 and line.isascii()
    assert wire.decode_request(line) == sent


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(texts, json_values, max_size=4))
def test_any_result_comes_back_as_it_was(result: dict[str, Any]) -> None:
    sent = messages.Event("1", "2", messages.Result(result))
    assert wire.decode_event(wire.encode(sent)) == sent


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.sampled_from(["id", "body", "x"]), json_values, max_size=3) | json_values)
def test_whatever_comes_in_is_understood_or_refused(value: Any) -> None:
    try:
        wire.decode_request(json.dumps(value).encode())
    except ProtocolError as error:
        assert error.why


def test_the_oldest_python_of_the_plugin_side_can_decode() -> None:
    python = shutil.which("python3.9")
    if python is None or subprocess.run([python, "-V"], capture_output=True, check=False).returncode:
        pytest.skip("no Python 3.9 on this machine")
    code = (
        "import sys; from backend.protocol import messages, wire\n"
        "sent = wire.decode_request(sys.stdin.buffer.read()); assert wire.decode_request(wire.encode(sent)) == sent"
    )
    subprocess.run([python, "-c", code], input=request(), cwd=Path(__file__).parents[3], check=True, timeout=60)
