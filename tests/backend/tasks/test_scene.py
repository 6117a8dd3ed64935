"""A job over a scene is checked before anybody waits for a device; whatever is wrong with it is told at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.protocol.errors import GridError, InputError, ParameterError, ResumeError, SourceError
from backend.protocol.jobs import AreaSpec, ComputeSpec, EmbedJob, InputSpec, MaskSpec, SegmentJob
from backend.runtime.lock import device_lock
from backend.tasks import scene
from backend.tasks.context import Context
from tests.end_to_end.command import refused
from tests.packages import identity_package
from tests.rasters import LEFT, utm_grid, write_raster


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The processor belongs to another job."""
    monkeypatch.setenv("EARTHPRISM_HOME", str(tmp_path / "home"))
    with device_lock("cpu", Context()):
        yield


@pytest.fixture
def job(tmp_path: Path) -> SegmentJob:
    raster = write_raster(tmp_path / "a.tif", np.zeros((1, 80, 80), np.float32), utm_grid(80, 80))
    model = identity_package(tmp_path / "model", window=32)
    return SegmentJob(
        (InputSpec("ms", (raster,), bands=("B1",)),),
        (str(model.root),),
        str(tmp_path / "out.tif"),
        compute=ComputeSpec("cpu"),
    )


def test_a_job_in_order_passes_and_leaves_nothing(job: SegmentJob, tmp_path: Path, busy: None) -> None:
    before = sorted(tmp_path.iterdir())
    scene.check(job)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"inputs": ()}, ParameterError, "no raster"),
        ({"inputs": (InputSpec("ms", ("gone.tif",), bands=("B1",)),)}, SourceError, "gone.tif"),
        ({"overlap": 2.0}, ParameterError, "overlap"),
        ({"area": AreaSpec(extent=(0, 0, 1, 1), extent_crs="EPSG:32633")}, GridError, "outside the scene"),
        ({"compute": ComputeSpec("cpu", "int8")}, InputError, "int8"),
    ],
)
def test_a_job_that_is_wrong(
    job: SegmentJob, change: dict[str, object], kind: type[InputError], words: str, busy: None
) -> None:
    with pytest.raises(kind, match=words):
        scene.check(replace(job, **change))


def test_a_mask_of_another_place(job: SegmentJob, tmp_path: Path, busy: None) -> None:
    far = write_raster(tmp_path / "far.tif", np.zeros((1, 4, 4), np.uint8), utm_grid(4, 4, left=LEFT + 90_000))
    with pytest.raises(GridError, match="does not overlap"):
        scene.check(replace(job, mask=MaskSpec(far)))


def test_results_that_are_there_stay_unless_they_may_go(job: SegmentJob, tmp_path: Path, busy: None) -> None:
    (tmp_path / "out.tif").write_bytes(b"precious")
    with pytest.raises(ResumeError, match="exists already"):
        scene.check(job)
    scene.check(replace(job, if_exists="overwrite"))
    (tmp_path / "out.tif.parts").mkdir()
    (tmp_path / "out.tif.parts" / "run.json").write_text("{")
    with pytest.raises(ResumeError, match="cannot be read"):
        scene.check(replace(job, if_exists="resume"))


def test_an_embedding_needs_an_encoder(job: SegmentJob, busy: None) -> None:
    with pytest.raises(InputError, match="no encoder"):
        scene.check(EmbedJob(job.inputs, job.models, job.output))


def test_the_command_line_does_not_wait_with_a_wrong_job(job: SegmentJob, tmp_path: Path, busy: None) -> None:
    options = ("--model", job.models[0], "--output", job.output, "--device", "cpu")
    assert "gone.tif" in refused("segment", "--ms", tmp_path / "gone.tif", *options)
