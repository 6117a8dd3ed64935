"""Shards: what goes in comes out, and what is broken is refused."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.protocol.errors import InputError, ParameterError
from backend.train.data.sample import Place, Sample, Series
from backend.train.data.shards import ShardSet, check_digest, write_shards


def sample(number: int, classes: bool = False) -> Sample:
    random = np.random.default_rng(number)
    optical = Series(
        "sentinel-2-l2a",
        ("B02", "B03"),
        random.integers(0, 9000, (2, 2, 5, 7)).astype("uint16"),
        random.random((2, 5, 7)) < 0.8,
        ("2019-05-01", ""),
    )
    radar = Series(
        "sentinel-1-grd",
        ("VV", "VH"),
        random.normal(-12, 4, (1, 2, 5, 7)).astype("float32"),
        np.ones((1, 5, 7), bool),
        ("2019-05-03",),
    )
    known = random.random((3, 4, 4)) < 0.5 if classes else None
    names = ("road", "water", "wood") if classes else ()
    series = {"ms": optical, "sar": radar} if number % 2 else {"ms": optical}
    return Sample(f"place-{number}", Place("EPSG:32631", (0, 0, 70, 50)), series, known, names, {"group": "a"})


def same(one: Sample, other: Sample) -> None:
    assert (one.key, one.place, one.class_names, dict(one.labels)) == (
        other.key, other.place, other.class_names, dict(other.labels),
    )  # fmt: skip
    assert one.series.keys() == other.series.keys()
    for name, series in one.series.items():
        there = other.series[name]
        assert (series.sensor, series.bands, series.days) == (there.sensor, there.bands, there.days)
        assert series.pixels.dtype == there.pixels.dtype
        np.testing.assert_array_equal(series.pixels, there.pixels)
        np.testing.assert_array_equal(series.valid, there.valid)
    if one.classes is None:
        assert other.classes is None
    else:
        np.testing.assert_array_equal(one.classes, other.classes)


def test_samples_come_back_as_they_were_in_their_order(tmp_path: Path) -> None:
    samples = [sample(number, classes=number == 3) for number in range(7)]
    written = write_shards(iter(samples), tmp_path, per_shard=3)
    assert [path.name for path in written] == ["shard-00000.tar", "shard-00001.tar", "shard-00002.tar"]
    assert all(check_digest(path) for path in written)
    found = ShardSet(tmp_path)
    assert len(found) == 7 and found.keys() == [one.key for one in samples]
    for number in (6, 0, 3, 4):
        same(found[number], samples[number])
    assert not list(tmp_path.glob("*.part"))


def test_any_reader_of_tar_files_sees_the_usual_layout(tmp_path: Path) -> None:
    (path,) = write_shards([sample(1, classes=True)], tmp_path)
    with tarfile.open(path) as tar:
        names = tar.getnames()
        stored = tar.extractfile("place-1.ms.npy")
        assert stored is not None
        np.testing.assert_array_equal(
            np.load(io.BytesIO(stored.read()), allow_pickle=False), sample(1).series["ms"].pixels
        )
    assert set(names) == {
        f"place-1.{part}" for part in ("ms.npy", "ms.valid.npy", "sar.npy", "sar.valid.npy", "classes.npy", "json")
    }


def test_a_folder_with_shards_and_unusable_keys_are_refused(tmp_path: Path) -> None:
    write_shards([sample(0)], tmp_path)
    with pytest.raises(ParameterError, match="holds shards already"):
        write_shards([sample(1)], tmp_path)
    with pytest.raises(ParameterError, match="no usable key"):
        write_shards([sample(0), sample(0)], tmp_path / "twice")
    with pytest.raises(InputError, match="no shards"):
        ShardSet(tmp_path / "nothing")


def test_a_cut_shard_and_an_index_that_points_elsewhere_are_refused(tmp_path: Path) -> None:
    (path,) = write_shards([sample(0)], tmp_path)
    index = path.with_suffix(".json")
    before = index.read_text()
    document = json.loads(before)
    document["samples"]["place-0"]["ms.npy"][0] = 10**9
    index.write_text(json.dumps(document))
    with pytest.raises(InputError, match="outside its file"):
        ShardSet(tmp_path)
    index.write_text(before)
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(InputError, match="size differs"):
        ShardSet(tmp_path)
    index.unlink()
    with pytest.raises(InputError, match="index"):
        ShardSet(tmp_path)


def test_a_member_that_was_changed_is_refused_without_running_it(tmp_path: Path) -> None:
    (path,) = write_shards([sample(0)], tmp_path)
    begin, size = json.loads(path.with_suffix(".json").read_text())["samples"]["place-0"]["ms.valid.npy"]
    content = bytearray(path.read_bytes())
    content[begin : begin + 8] = b"\x80\x04\x95evil\x94"
    path.write_bytes(bytes(content))
    assert not check_digest(path) and size > 8
    with pytest.raises(InputError, match="cannot be read"):
        ShardSet(tmp_path)[0]


def test_a_set_that_ended_early_or_lacks_a_shard_is_refused(tmp_path: Path) -> None:
    def failing() -> Iterator[Sample]:
        yield from (sample(number) for number in range(3))
        raise InputError("the next image is broken")

    with pytest.raises(InputError, match="broken"):
        write_shards(failing(), tmp_path / "early", per_shard=2)
    assert [path.name for path in sorted((tmp_path / "early").iterdir())] == ["shard-00000.json", "shard-00000.tar"]
    with pytest.raises(InputError, match="not complete"):
        ShardSet(tmp_path / "early")
    first, _ = write_shards((sample(number) for number in range(4)), tmp_path / "whole", per_shard=2)
    for path in (first, first.with_suffix(".json")):
        path.unlink()
    with pytest.raises(InputError, match="1 with 2 samples instead of 2 with 4"):
        ShardSet(tmp_path / "whole")


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5
    ),
    st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    st.integers(1, 3),
)
def test_any_sizes_and_types_come_back(
    shapes: list[tuple[int, int, int, int]], dtype: str, per_shard: int
) -> None:  # fmt: skip
    random = np.random.default_rng(0)
    samples = []
    for number, (dates, bands, rows, columns) in enumerate(shapes):
        pixels = random.integers(0, 200, (dates, bands, rows, columns)).astype(dtype)
        valid = random.random((dates, rows, columns)) < 0.5
        series = Series("any", tuple(map(str, range(bands))), pixels, valid, ("",) * dates)
        classes = random.random((2, rows, columns)) < 0.5
        place = Place("EPSG:4326", (-1.5, 0.25, 1 / 3, 2.0))
        samples.append(Sample(f"s_{number}", place, {"x": series}, classes, ("a", "ü")))
    with tempfile.TemporaryDirectory() as folder:
        write_shards(samples, Path(folder), per_shard)
        for one, other in zip(samples, ShardSet(Path(folder)), strict=True):
            same(one, other)
