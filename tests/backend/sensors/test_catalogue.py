"""The catalogue: complete, consistent, and strict about its files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from backend.protocol.errors import InternalError, ParameterError
from backend.sensors import catalogue
from backend.sensors.loading import FOLDER, load_all, load_file


def test_holds_the_sensors_that_users_bring() -> None:
    wanted = {
        "sentinel-2-l1c", "sentinel-2-l2a", "hls-s30", "hls-l30", "sentinel-1-grd", "landsat-5-l1", "landsat-5-l2",
        "landsat-7-l1", "landsat-7-l2", "landsat-8-l1", "landsat-8-l2", "planetscope-4", "planetscope-8", "worldview-2",
        "worldview-3", "naip", "aerial-rgb", "aerial-rgbn", "hyperspectral",
    }  # fmt: skip
    assert wanted <= set(catalogue.names())


@pytest.mark.parametrize("name", catalogue.names())
def test_sensor_is_consistent(name: str) -> None:
    sensor = catalogue.get(name)
    for band in sensor.bands:
        assert sensor.band(band.name) is band
        assert sensor.band(band.name.lower()) is band
        if band.center_nm is not None and band.width_nm is not None:
            assert 350 < band.center_nm - band.width_nm / 2 < band.center_nm + band.width_nm / 2 < 13_000
    visible = [sensor.band(colour) for colour in ("blue", "green", "red", "nir08", "swir16", "swir22")]
    centres = [band.center_nm for band in visible if band is not None and band.center_nm is not None]
    assert centres == sorted(set(centres)), "colours run from short to long waves"
    for rule in sensor.digital:
        assert rule.unit == sensor.unit or rule.bands or rule.chosen
    assert sensor.source


@pytest.mark.parametrize(
    "name", ["sentinel-2-l1c", "sentinel-2-l2a", "landsat-5-l2", "landsat-8-l2", "planetscope-8", "hls-s30"]
)
def test_bands_are_listed_by_wavelength(name: str) -> None:
    centres = [
        band.center_nm or 0.0
        for band in catalogue.get(name).bands
        if band.center_nm and band.center_nm < 3000 and band.common != "lwir"
    ]
    assert centres == sorted(centres)


def test_published_values() -> None:
    s2 = catalogue.get("sentinel-2-l2a")
    assert [(b.name, b.center_nm, b.gsd_m) for b in s2.bands if b.name in ("B02", "B8A", "B12")] == [
        ("B02", 492.4, 10), ("B8A", 864.7, 20), ("B12", 2202.4, 20)]  # fmt: skip
    (rule,) = (rule for rule in catalogue.get("landsat-8-l2").digital if rule.name == "collection-2")
    assert (10_000 + rule.offset) * rule.scale == pytest.approx(10_000 * 0.0000275 - 0.2)
    (rule,) = (rule for rule in catalogue.get("landsat-8-l2").digital if rule.name == "collection-2-temperature")
    assert (40_000 + rule.offset) * rule.scale == pytest.approx(40_000 * 0.00341802 + 149.0)
    assert catalogue.get("sentinel-2-l1c").band("B10") is not None and s2.band("B10") is None


@pytest.mark.parametrize(
    ("one", "other"), [("B04", "b4"), ("Band_04", "band 4"), ("B8A", "b8a"), ("SR_B4", "sr-b4"), ("B010", "B10")]
)
def test_spellings_are_one(one: str, other: str) -> None:
    assert catalogue.normal(one) == catalogue.normal(other)


@pytest.mark.parametrize(("one", "other"), [("B1", "B10"), ("B1", "B01A"), ("B100", "B10")])
def test_spellings_stay_apart(one: str, other: str) -> None:
    assert catalogue.normal(one) != catalogue.normal(other)


def test_unknown_sensor_names_near_ones() -> None:
    with pytest.raises(ParameterError, match="sentinel-2-l2a"):
        catalogue.get("sentinel-2-l2b")
    assert catalogue.get("Landsat-9-L2").name == "landsat-8-l2"


def test_platform_names_do_not_catch_others() -> None:
    landsat = catalogue.get("landsat-8-l1")
    assert (
        landsat.mentioned("Landsat-8 OLI") and landsat.mentioned("LC80380342015230LGN00") and landsat.mentioned("L9_SR")
    )
    assert not landsat.mentioned("Landsat 8-bit composite") and not landsat.mentioned("level8_B2")
    s2 = catalogue.get("sentinel-2-l2a")
    assert (
        s2.mentioned("S2_L2A_20200101")
        and s2.mentioned("sentinel2")
        and not s2.mentioned("sentinel-20")
        and not s2.mentioned("gis2")
    )


def _valid() -> dict[str, object]:
    return json.loads((FOLDER / "radar.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda c: c.update(extra=1), "unknown extra"),
        (lambda c: c["sensors"][0].pop("unit"), "missing unit"),
        (lambda c: c["sensors"][0].update(unit="decibel"), "unit"),
        (lambda c: c["sensors"][0].update(name="Sentinel 1"), "lower case"),
        (lambda c: c["sensors"][0]["bands"].append("XX"), "does not define: XX"),
        (lambda c: c["sensors"][0]["bands"].append("any VV"), "one name"),
        (lambda c: c["sensors"][0].update(mentions=["("]), "regular expression"),
        (lambda c: c["sensors"][0].update(priority="high"), "number"),
        (lambda c: c["sensors"][0]["digital"][0].update(scale=0), "scale 0"),
        (lambda c: c["sensors"][0]["digital"][0].update(code="x + 1"), "unknown code"),
        (lambda c: c["sensors"][0]["digital"][0].update(from_baseline="4"), "04.00"),
        (lambda c: c["sensors"][0]["digital"][0].update(name="db"), "like a unit"),
        (lambda c: c["bands"]["VV"].update(center_nm=5), "centre and width"),
        (lambda c: c["bands"]["VV"].update(polarisation="left"), "polarisation"),
    ],
)  # fmt: skip
def test_mistakes_in_a_file_are_named(tmp_path: Path, change: object, complaint: str) -> None:
    content = _valid()
    assert callable(change)
    change(content)
    path = tmp_path / "radar.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InternalError, match=re.escape(complaint)) as caught:
        load_file(path)
    assert "radar.json" in caught.value.sentence()


def test_damaged_file_and_doubled_names(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{", encoding="utf-8")
    with pytest.raises(InternalError, match=r"a\.json"):
        load_all(tmp_path)
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps(_valid()), encoding="utf-8")
    with pytest.raises(InternalError, match="occur twice"):
        load_all(tmp_path)
