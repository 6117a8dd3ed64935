"""The description of a run, and what may be done to a run that is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backend.protocol.errors import OutputError, ResumeError
from backend.scene.run import FILE, clear_removed, open_run, parts_folder, stored_description

DESCRIPTION: dict[str, Any] = {
    "models": [{"name": "net 1.0.0", "sha256": "aa"}],
    "inputs": [{"files": [{"name": "a.tif", "size": 10}, {"name": "b.tif", "size": 20}]}],
    "tiling": {"window": 64, "stride": 48},
    "place": {"mask": None, "area": (0, 0, 5, 5)},
}


def changed(**parts: Any) -> dict[str, Any]:
    return {**DESCRIPTION, **parts}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "map.tif"


def test_a_new_run_has_a_folder_beside_its_output(output: Path) -> None:
    assert stored_description(output) is None
    folder = open_run(output, DESCRIPTION, "refuse")
    assert folder.path == parts_folder(output) == output.with_name("map.tif.parts")
    stored = stored_description(output)
    assert stored is not None and stored["run"] == folder.run_id
    assert stored["description"] == json.loads(json.dumps(DESCRIPTION))
    assert [path.name for path in folder.path.iterdir()] == [FILE]
    folder.remove()
    assert not folder.path.exists() and stored_description(output) is None


def test_the_same_run_is_continued_under_its_own_name(output: Path) -> None:
    first = open_run(output, DESCRIPTION, "resume")
    again = open_run(output, DESCRIPTION, "resume")
    assert (again.run_id, again.path) == (first.run_id, first.path)
    assert open_run(output.with_name("other.tif"), DESCRIPTION, "refuse").run_id != first.run_id


def test_a_run_that_is_there_is_not_touched_without_being_told(output: Path) -> None:
    first = open_run(output, DESCRIPTION, "refuse")
    with pytest.raises(ResumeError, match="--resume"):
        open_run(output, DESCRIPTION, "refuse")
    assert stored_description(output) == {
        "schema": 1,
        "run": first.run_id,
        "description": json.loads(json.dumps(DESCRIPTION)),
    }


def test_overwriting_forgets_everything(output: Path) -> None:
    first = open_run(output, DESCRIPTION, "refuse")
    (first.path / "chunk.tif").write_text("x")
    second = open_run(output, changed(tiling={"window": 32}), "overwrite")
    assert second.run_id != first.run_id and [path.name for path in second.path.iterdir()] == [FILE]


@pytest.mark.parametrize(
    ("description", "difference"),
    [
        (
            changed(models=[{"name": "net 1.0.1", "sha256": "aa"}]),
            'models 1 name was "net 1.0.0" and is now "net 1.0.1"',
        ),
        (changed(models=[{"name": "net 1.0.0", "sha256": "bb"}]), 'models 1 sha256 was "aa" and is now "bb"'),
        (changed(models=[*DESCRIPTION["models"], {"name": "more", "sha256": "c"}]), "models was"),
        (
            changed(inputs=[{"files": [{"name": "a.tif", "size": 10}, {"name": "b.tif", "size": 21}]}]),
            "inputs 1 files 2 size was 20 and is now 21",
        ),
        (changed(tiling={"window": 64, "stride": 32}), "tiling stride was 48 and is now 32"),
        (changed(place={"mask": {"values": [3]}, "area": (0, 0, 5, 5)}), "place mask was null and is now"),
        (changed(place={"mask": None, "area": (0, 0, 5, 6)}), "place area 4 was 5 and is now 6"),
        ({k: v for k, v in DESCRIPTION.items() if k != "tiling"}, "tiling was"),
        (changed(extra=True), "extra was null and is now true"),
    ],
)
def test_another_run_is_refused_with_the_difference(output: Path, description: dict[str, Any], difference: str) -> None:
    first = open_run(output, DESCRIPTION, "refuse")
    with pytest.raises(ResumeError) as caught:
        open_run(output, description, "resume")
    assert difference in caught.value.sentence()
    assert open_run(output, DESCRIPTION, "resume").run_id == first.run_id


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema": 1}'])
def test_a_folder_whose_description_is_damaged_is_left_alone(output: Path, content: str) -> None:
    parts_folder(output).mkdir()
    (parts_folder(output) / FILE).write_text(content)
    with pytest.raises(ResumeError):
        open_run(output, DESCRIPTION, "resume")
    assert (parts_folder(output) / FILE).read_text() == content
    assert open_run(output, DESCRIPTION, "overwrite").description == DESCRIPTION


def test_a_run_of_another_schema_says_so(output: Path) -> None:
    parts_folder(output).mkdir()
    (parts_folder(output) / FILE).write_text('{"schema": 99, "run": "x", "description": {}}')
    with pytest.raises(ResumeError, match="another version"):
        open_run(output, DESCRIPTION, "resume")


@pytest.mark.parametrize("mode", ["refuse", "resume", "overwrite"])
def test_a_folder_of_somebody_else_is_never_removed(output: Path, mode: str) -> None:
    parts_folder(output).mkdir()
    (parts_folder(output) / "thesis.txt").write_text("years of work")
    with pytest.raises(ResumeError):
        open_run(output, DESCRIPTION, mode)
    assert (parts_folder(output) / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("mode", ["resume", "overwrite"])
@pytest.mark.parametrize("left", [(), (f"{FILE}.part",)])
def test_a_run_that_was_killed_before_it_was_described_is_no_obstacle(
    output: Path, mode: str, left: tuple[str, ...]
) -> None:
    parts_folder(output).mkdir()
    for name in left:
        (parts_folder(output) / name).write_text('{"sch')
    assert stored_description(output) is None
    folder = open_run(output, DESCRIPTION, mode)
    assert open_run(output, DESCRIPTION, "resume").run_id == folder.run_id


def test_an_output_whose_folder_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be made"):
        open_run(tmp_path / "file" / "map.tif", DESCRIPTION, "refuse")


def test_what_a_removal_that_was_cut_off_leaves_is_no_run(output: Path) -> None:
    folder = open_run(output, DESCRIPTION, "refuse")
    (folder.path / "chunk.tif").touch()
    folder.path.rename(output.with_name("map.tif.parts.removed"))
    assert stored_description(output) is None and not parts_folder(output).exists()
    open_run(output, DESCRIPTION, "refuse").remove()
    assert not any(output.parent.iterdir())
    output.with_name("map.tif.parts.removed").mkdir()
    clear_removed(output)
    clear_removed(output)
    assert not any(output.parent.iterdir())
