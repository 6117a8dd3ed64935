"""Every message has one golden file and survives the way there and back."""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path

import pytest

from backend.protocol import jobs, messages, wire
from tests.backend.protocol import examples

GOLDEN = Path(__file__).parents[2] / "golden" / "messages"
ENVELOPES = {
    **{name: messages.Request("12", body) for name, body in examples.REQUESTS.items()},
    **{name: messages.Event("34", "12", body) for name, body in examples.EVENTS.items()},
}


@pytest.mark.parametrize("name", sorted(ENVELOPES))
def test_golden_file_and_message_are_the_same(name: str) -> None:
    envelope = ENVELOPES[name]
    golden = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    assert json.loads(wire.encode(envelope)) == golden
    line = json.dumps(golden).encode()
    decode = wire.decode_request if isinstance(envelope, messages.Request) else wire.decode_event
    assert decode(line) == envelope


def test_every_kind_of_message_has_a_golden_file() -> None:
    kinds = {body.kind for union in (messages.RequestBody, messages.EventBody) for body in typing.get_args(union)}
    assert kinds == set(ENVELOPES) == {path.stem for path in GOLDEN.glob("*.json")}
    assert len(kinds) == len(typing.get_args(messages.RequestBody)) + len(typing.get_args(messages.EventBody))


def test_every_job_can_be_asked_for() -> None:
    assert set(typing.get_args(jobs.Job)) <= set(typing.get_args(messages.RequestBody))


def test_a_field_with_a_default_may_be_left_out() -> None:
    job = b'{"kind":"segment","inputs":[{"modality":"ms","paths":["a.tif"]}],"models":["m"],"output":"o.tif"}'
    line = b'{"id":"1","body":' + job + b"}"
    body = wire.decode_request(line).body
    assert body == jobs.SegmentJob((jobs.InputSpec("ms", ("a.tif",)),), ("m",), "o.tif")


def test_annotations_can_be_resolved_by_the_oldest_python_of_the_plugin_side() -> None:
    kinds = [value for module in (jobs, messages) for value in vars(module).values() if dataclasses.is_dataclass(value)]
    unions = [f"{kind.__name__}.{f.name}" for kind in kinds for f in dataclasses.fields(kind) if "|" in str(f.type)]
    assert not unions
