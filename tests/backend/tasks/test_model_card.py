"""A package in words: every fact that a user chooses by, none of it raw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from backend.manifest.package import BandNeed, InputSlot
from backend.tasks.model_card import card
from tests.packages import encoder_and_heads, identity_package, series_package


def found_in(lines: list[str], label: str) -> str:
    """The text of a label, its further lines joined."""
    start = next(number for number, line in enumerate(lines) if line[:10].strip() == label)
    texts = [lines[start][10:]]
    for line in lines[start + 1 :]:
        if line[:10].strip():
            break
        texts.append(line[10:])
    return " ".join(texts)


def test_inputs_classes_and_origin(tmp_path: Path) -> None:
    bands = (BandNeed("B04", 664.6, 31), BandNeed("B05", 704.1, 15))
    package = identity_package(
        tmp_path,
        bands=2,
        margin=8,
        slot={"sensors": ("sentinel-2-l2a", "balloon"), "bands": bands, "unit": "reflectance", "gsd_m": (5.0, 40.0)},
        title="Nothing changes",
        licence="CC-BY-4.0",
        training="Two days in spring",
        description="word " * 60,
    )
    lines = card(package, built_in=True)
    assert max(map(len, lines[:-2])) <= 100
    assert found_in(lines, "model") == "identity@1.0.0, Nothing changes"
    assert found_in(lines, "kind") == "bundle for the task segment, built in"
    assert found_in(lines, "input") == "image: --ms, multispectral, reflectance, pixels of 5 to 40 m, one date"
    assert found_in(lines, "sensors") == "sentinel-2-l2a (Sentinel-2 MSI Level-2A (surface)), balloon"
    assert found_in(lines, "bands") == "red (B04, 665 nm, 31 nm wide), red edge 1 (B05, 704 nm, 15 nm wide)"
    assert found_in(lines, "classes") == "0 class 0, 1 class 1"
    assert found_in(lines, "windows") == "64 px, of which neighbours share 16 px"
    assert found_in(lines, "variants") == "onnxruntime fp32"
    assert (found_in(lines, "licence"), found_in(lines, "training")) == ("CC-BY-4.0", "Two days in spring")
    assert found_in(lines, "about").split() == ["word"] * 60
    assert found_in(lines, "folder") == str(package.root) and found_in(lines, "sha256") == package.digest


def test_what_is_not_known_takes_no_line(tmp_path: Path) -> None:
    lines = card(replace(identity_package(tmp_path), attribution=""), built_in=False)
    labels = {line[:10].strip() for line in lines}
    assert not labels & {"about", "training", "data"} and found_in(lines, "kind") == "bundle for the task segment"
    assert found_in(lines, "sensors") == "any" and found_in(lines, "bands") == "B1"


def test_series_radar_and_inputs_that_may_be_left_out(tmp_path: Path) -> None:
    series = series_package(tmp_path / "series")
    assert "1 to 12 dates" in found_in(card(series, False), "input")
    radar = InputSlot("sar", "sar", (), (BandNeed("VV", polarisation="VV"),), "db", 64, required=False)
    lines = card(replace(series, inputs=(radar,)), False)
    assert found_in(lines, "input") == "sar: --sar, SAR, decibel, one date, may be left out"
    assert found_in(lines, "bands") == "VV polarisation"


def test_encoders_give_features_and_heads_take_them(tmp_path: Path) -> None:
    encoder, (head,) = encoder_and_heads(tmp_path, 1)
    assert found_in(card(encoder, False), "features") == "map (8 channels)"
    lines = card(head, False)
    assert encoder.digest in found_in(lines, "input") and "class 2" in found_in(lines, "classes")
