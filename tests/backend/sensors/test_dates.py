"""Dates from metadata items and names."""

from __future__ import annotations

import pytest

from backend.sensors.dates import cf_date, contradiction, date_of, dates_in, equal_periods, parse_date


@pytest.mark.parametrize(
    ("name", "date"),
    [
        ("S2_L2A_boadella_2020-01-13", "2020-01-13"),
        ("S1_GRD_ASC_20180802T173151", "2018-08-02"),
        ("LC80380342015230LGN00", "2015-08-18"),
        ("LC08_L2SP_038034_20150818_20200908_02_T1_SR_B4", "2015-08-18"),
        ("HLS.S30.T31UFS.2023001T105431.v2.0.B04", "2023-01-01"),
        ("MOD13Q1.A2013257.h12v10", "2013-09-14"),
        ("S2B_MSIL2A_20170924T93020_69_24_B01", "2017-09-24"),
        ("S2A_MSIL2A_20220812T105031_N0400_R051_T31UFS_20220813T170000", "2022-08-12"),
        ("20230412_101530_12_2489_3B_AnalyticMS_SR_8b", "2023-04-12"),
        ("naip_20090818", "2009-08-18"),
        ("scene_2021_06_30_rgb", "2021-06-30"),
        ("banepa_20_773394_440526", None),
        ("Spain_7370579_S2Hand", None),
        ("img_20230230", None),
        ("1234567820200101", None),
        ("bishop_2020_2", None),
    ],
)
def test_names(name: str, date: str | None) -> None:
    assert date_of({}, [name]).date == date


def test_metadata_before_names_and_file_time_last() -> None:
    assert date_of({"acquisition_date": "2020-01-13T10:00:00Z"}, ["x_20190101"]).date == "2020-01-13"
    assert date_of({"TIFFTAG_DATETIME": "2015:08:18 12:00:00"}, ["x_20190101"]).date == "2019-01-01"
    written = date_of({"TIFFTAG_DATETIME": "2015:08:18 12:00:00"}, ["x"])
    assert written.date == "2015-08-18" and "TIFF" in written.doubt


def test_period_and_year_are_no_date() -> None:
    found = date_of({}, ["togo_98_2019-02-06_2020-02-01"])
    assert found.date is None and found.period == ("2019-02-06", "2020-02-01")
    assert "2016" in date_of({"year": "2016"}, ["x"]).doubt
    assert dates_in("nothing here") == []


def test_cf_time_and_parts_of_a_period() -> None:
    assert cf_date("12145", "days since 1990-01-01") == "2023-04-03"
    assert cf_date("36", "hours since 2020-02-28 00:00:00") == "2020-02-29"
    assert cf_date("2020-02-28", "") == "2020-02-28"
    assert cf_date("12", "fortnights since 1990-01-01") is None
    periods = equal_periods(("2019-02-06", "2020-02-01"), 12)
    assert len(periods) == 12 and periods[0] == ("2019-02-06", "2019-03-08") and periods[-1][1] == "2020-02-01"


@pytest.mark.parametrize(
    ("text", "date"), [("2023-04-03", "2023-04-03"), ("20230403", "2023-04-03"), ("2023-13-03", None), ("x", None)]
)
def test_parse(text: str, date: str | None) -> None:
    assert parse_date(text) == date


@pytest.mark.parametrize(
    ("tags", "name", "words"),
    [
        ({"acquisition_date": "2020-01-13"}, "x", "metadata item acquisition_date states 2020-01-13"),
        ({}, "S2_L2A_2020-01-13", 'name "S2_L2A_2020-01-13" states 2020-01-13'),
        ({}, "togo_2019-02-06_2020-02-01", "2019-02-06 to 2020-02-01"),
        ({"acquisition_date": "2021-05-01T10:00:00Z"}, "x", ""),
        ({}, "togo_2021-02-06_2022-02-01", ""),
        ({"TIFFTAG_DATETIME": "2015:08:18 12:00:00"}, "x", ""),
        ({}, "x", ""),
    ],
)
def test_a_date_that_contradicts_what_is_stated(tags: dict[str, str], name: str, words: str) -> None:
    said = contradiction("2021-05-01", date_of(tags, [name]))
    assert bool(said) == bool(words) and words in said
